"""The real XRootD with SciTokens judges our tokens: what they do not say, they do not open."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from element import find
from person import Person
from sandbox import Sandbox

from farmlet.parts.identity.deploy import PROGRAM, USER

pytestmark = [pytest.mark.facility, pytest.mark.usefixtures("running"), pytest.mark.timeout(600)]
LIFE, LEEWAY = 20, 90  # seconds: of the short-lived token, and what XRootD's clock may differ at most


@pytest.fixture(scope="module")
def sven(sandbox: Sandbox, running: Sandbox) -> Person:
    words = f"--public --grant device --access-lifetime {LIFE} --scope 'openid storage.read:/ storage.modify:/'"
    sandbox.exec("service", f"runuser -u {USER} -- {PROGRAM} client ensure hasty {words}")
    return Person.join(sandbox, "sven", "lab")


def ask(person: Person, method: str, path: str, token: str, body: str = "") -> str:
    """HTTP status at the facility's element; the token goes by standard input."""
    given = f'header = "Authorization: Bearer {token}"\n'
    options = ["--silent", "--cacert", person.ca, "--output", "/dev/null", "--write-out", "%{http_code}", "--request", method]
    options += ["--data-binary", body] if body else []
    command = ["curl", *options, "--config", "-", f"https://head.{person.sandbox.domain}:8443{path}"]
    return subprocess.run(command, input=given, capture_output=True, text=True, timeout=60, check=True).stdout


def test_a_token_opens_what_it_says_and_no_more(sven: Person) -> None:
    mine = "/users/sven/file"
    writer = sven.authorise("storage.read:/ storage.modify:/users/sven").access_token
    reader = sven.authorise("storage.read:/").access_token
    maker = sven.authorise("storage.create:/users/sven").access_token
    assert ask(sven, "PUT", mine, writer, "one") in ("200", "201")
    assert ask(sven, "GET", mine, reader) == "200"
    for method, path in (("PUT", mine), ("DELETE", mine), ("MKCOL", "/users/sven/folder"), ("PUT", "/users/sven/new")):
        assert ask(sven, method, path, reader, "two" if method == "PUT" else "") == "403", method
    assert ask(sven, "PUT", "/users/sven/made", maker, "three") in ("200", "201")
    assert ask(sven, "PUT", "/users/sven/made", maker, "four") == "403", "who may only create may not overwrite"
    assert ask(sven, "PUT", "/users/other/file", writer, "five") == "403"
    for trick in ("/users/sven/../other/file", "/users/sven/%2e%2e/other/file", "//users/other/file"):
        assert ask(sven, "PUT", trick, writer, "six") in ("400", "403"), trick


def test_another_audience_or_none_is_refused(sven: Person) -> None:
    ours = f"https://head.{sven.sandbox.domain}:8443"
    assert ask(sven, "GET", "/users/sven/file", sven.authorise("storage.read:/", ours).access_token) == "200"
    assert ask(sven, "GET", "/users/sven/file", sven.authorise_elsewhere("storage.read:/").access_token) == "403"
    assert ask(sven, "GET", "/users/sven/file", sven.authorise("openid").access_token) == "403"
    assert ask(sven, "GET", "/users/sven/file", "") in ("401", "403")


def test_an_expired_token_is_refused(sven: Person) -> None:
    """A request that has begun goes on to its own end, one that begins later is refused."""
    token = sven.authorise("storage.read:/ storage.modify:/users/sven", client="hasty").access_token
    assert ask(sven, "GET", "/users/sven/file", token) == "200"
    refused = threading.Event()

    def drip() -> Iterator[bytes]:
        while not refused.wait(1):
            yield bytes(1000)
        yield b"the end"

    here = find(sven.sandbox)[0]
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(here.ask, "PUT", "/users/sven/slow", token, drip())
        end = time.monotonic() + LIFE + LEEWAY
        try:
            while ask(sven, "GET", "/users/sven/file", token) != "403":
                assert time.monotonic() < end, "it is taken long after its end"
                time.sleep(2)
            assert not slow.done()
        finally:
            refused.set()
        assert slow.result().status == 201
    fresh = sven.authorise("storage.read:/").access_token
    assert here.ask("GET", "/users/sven/slow", fresh).body.endswith(b"the end")
