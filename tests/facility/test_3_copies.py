"""Third-party copies between the facility's element and the stand-in site's, and where they may not go."""

from __future__ import annotations

import http.client
import json
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat

import pytest
from element import DATA, Element, find
from lure import PLAIN, TLS
from person import Person
from sandbox import Sandbox, until

pytestmark = [pytest.mark.facility, pytest.mark.usefixtures("running"), pytest.mark.timeout(600)]
BLOCK = bytes(range(256)) * 4096  # 1 MiB


@pytest.fixture(scope="module")
def cilla(sandbox: Sandbox, running: Sandbox) -> Person:
    return Person.join(sandbox, "cilla", "lab")


@pytest.fixture(scope="module")
def elements(sandbox: Sandbox, running: Sandbox) -> tuple[Element, Element]:
    return find(sandbox)


@pytest.fixture(scope="module")
def token(cilla: Person) -> str:
    return cilla.authorise("storage.read:/users/cilla storage.modify:/users/cilla").access_token


@pytest.fixture(scope="module", params=[64 << 20, pytest.param(1 << 30, marks=pytest.mark.soak)], ids=["64M", "1G"])
def big(request: pytest.FixtureRequest, elements: tuple[Element, Element], token: str) -> Iterator[str]:
    """A large file on the facility's element: its checksum. Nothing of it stays, on either element."""
    here, there = elements
    blocks, size = request.param // len(BLOCK), {"Content-Length": str(request.param)}
    assert here.ask("PUT", "/users/cilla/big", token, repeat(BLOCK, blocks), size, seconds=300).status == 201
    total = 1
    for _ in range(blocks):
        total = zlib.adler32(BLOCK, total)
    yield f"adler32={total:08x}"
    for element in (here, there):
        for name in ("big", "pulled", "back"):
            element.ask("DELETE", f"/users/cilla/{name}", token)


def digest(element: Element, path: str, token: str) -> str:
    return element.ask("HEAD", path, token, headers={"Want-Digest": "adler32"}, seconds=300).headers["digest"]


def test_a_copy_by_pull_and_one_by_push_keep_every_byte(
    elements: tuple[Element, Element], cilla: Person, token: str, big: str
) -> None:
    here, there = elements
    assert digest(here, "/users/cilla/big", token) == big
    # each end has a token for itself alone; the one for the other end travels in its header and is good for no more
    source = cilla.authorise("storage.read:/users/cilla", here.url).access_token
    target = cilla.authorise("storage.modify:/users/cilla storage.read:/users/cilla", there.url).access_token
    given = {"Source": f"{here.url}/users/cilla/big", "TransferHeaderAuthorization": f"Bearer {source}"}
    pulled = there.ask("COPY", "/users/cilla/pulled", target, headers=given, seconds=300)
    assert pulled.copied, pulled.body[-300:]
    assert digest(there, "/users/cilla/pulled", target) == big
    given = {"Destination": f"{here.url}/users/cilla/back", "TransferHeaderAuthorization": f"Bearer {token}"}
    pushed = there.ask("COPY", "/users/cilla/pulled", target, headers=given, seconds=300)
    assert pushed.copied, pushed.body[-300:]
    assert digest(here, "/users/cilla/back", token) == big


def test_fifty_with_fifty_tokens_at_once(elements: tuple[Element, Element], cilla: Person) -> None:
    here = elements[0]
    first = cilla.authorise("offline_access storage.read:/users/cilla storage.modify:/users/cilla")
    tokens = []
    for _ in range(50):
        first = cilla.refresh(first)
        tokens.append(first.access_token)
    assert len(set(tokens)) == 50

    def work(number: int) -> bool:
        data, path = str(number).encode() * 1000, f"/users/cilla/many{number}"
        connection = here.connect()
        fine = here.ask("PUT", path, tokens[number], data, on=connection).status == 201
        fine = fine and here.ask("GET", path, tokens[number], on=connection).body == data
        return fine and here.ask("DELETE", path, tokens[number], on=connection).status == 200

    with ThreadPoolExecutor(50) as pool:
        assert all(pool.map(work, range(50)))


def test_usage_is_counted_by_path_and_group(sandbox: Sandbox, elements: tuple[Element, Element], token: str) -> None:
    here = elements[0]
    assert here.put("/users/cilla/counted", token, b"x" * 12345) == 201
    began = time.time()
    sandbox.exec("head", "systemctl start farmlet-storage-usage.service")
    found = json.loads(sandbox.exec("head", "cat /var/lib/farmlet/storage/usage.json"))
    mine = next(row for row in found["paths"] if row["path"] == "/users/cilla")
    assert mine["groups"] == ["lab"] and mine["bytes"] >= 12345 and found["at"] >= began - 1
    assert next(row for row in found["groups"] if row["group"] == "lab")["bytes"] >= mine["bytes"]
    here.ask("DELETE", "/users/cilla/counted", token)


def test_copies_reach_nothing_but_https(elements: tuple[Element, Element], token: str, lure: list[str], sandbox: Sandbox) -> None:
    here = elements[0]
    path, secret = "/users/cilla/copied", f"file://{DATA}/users/cilla/kept"
    assert here.put("/users/cilla/kept", token, b"kept") == 201
    others = [f"{scheme}://localhost:{PLAIN}/x" for scheme in ("http", "HTTP", "gopher", "ftp", "dict", "telnet", "tftp", "ldap")]
    others += [f"localhost:{PLAIN}/x", f" http://localhost:{PLAIN}", "https:x", ""]
    others += [secret, "file:///etc/passwd", "FILE:///etc/passwd"]
    for place in others:
        for header, target in (("Source", path), ("source", path), ("Destination", "/users/cilla/kept")):
            answer = here.ask("COPY", target, token, headers={header: place, "Overwrite": "T"})
            assert not answer.copied and answer.status == 400, (header, place)
    # a place that is allowed sends it on to one that is not
    place = f"https://{here.host}:{TLS}/x"
    for header, target in (("Source", path), ("Destination", "/users/cilla/kept")):
        assert not here.ask("COPY", target, token, headers={header: place}).copied
    until(lambda: len(lure) >= 2, 10)
    assert not [line for line in lure if line.startswith("plain")], lure
    assert here.ask("GET", "/users/cilla/kept", token).body == b"kept" and here.get(path, token) == 404


def test_who_has_no_right_here_sends_the_server_nowhere(
    elements: tuple[Element, Element], cilla: Person, token: str, lure: list[str]
) -> None:
    here = elements[0]
    place = f"https://{here.host}:{TLS}/x"
    elsewhere = cilla.authorise_elsewhere("storage.read:/ storage.modify:/users/cilla").access_token
    mine, theirs = "/users/cilla/x", "/users/other/x"
    for bearer, path in (("", mine), ("junk", mine), (elsewhere, mine), (token, theirs)):
        for header in ("Source", "Destination"):
            for more in ("", "?authz=Bearer%20junk"):
                answer = here.ask("COPY", path + more, bearer, headers={header: place})
                assert answer.status in (401, 403) and not answer.copied, (bearer[:4], path, header, answer)
    time.sleep(1)
    assert lure == []
    # who may do no more than create needs no right to read
    maker = cilla.authorise("storage.create:/users/cilla").access_token
    given = {"Source": f"{elements[1].url}/users/cilla/made", "TransferHeaderAuthorization": f"Bearer {token}"}
    assert elements[1].put("/users/cilla/made", token, b"made") == 201
    assert here.ask("COPY", "/users/cilla/made", maker, headers=given).copied
    assert here.ask("GET", "/users/cilla/made", token).body == b"made"


def test_a_copy_in_several_streams_is_whole_or_nothing(elements: tuple[Element, Element], token: str, lure: list[str]) -> None:
    here, there = elements
    source, path, blocks = "/users/cilla/streams", "/users/cilla/joined", BLOCK * 40
    assert there.put(source, token, blocks) == 201
    given = {"X-Number-Of-Streams": "4", "TransferHeaderAuthorization": f"Bearer {token}"}
    assert here.ask("COPY", path, token, headers=given | {"Source": f"{there.url}{source}"}).copied
    assert here.ask("GET", path, token).body == blocks
    for element, name in ((here, path), (there, source)):
        assert element.ask("DELETE", name, token).status == 200
    assert not here.ask("COPY", path, token, headers=given | {"Source": f"https://{here.host}:{TLS}/short"}).copied
    assert here.get(path, token) == 404


@pytest.mark.parametrize("streams", ["0", "1", "4"])
def test_a_copy_of_an_empty_file_is_an_empty_file(elements: tuple[Element, Element], token: str, streams: str) -> None:
    for one, other in (elements, elements[::-1]):
        assert one.put("/users/cilla/empty", token, b"") == 201
        for at, header, path, place in (
            (other, "Source", "/users/cilla/void", f"{one.url}/users/cilla/empty"),
            (one, "Destination", "/users/cilla/empty", f"{other.url}/users/cilla/void"),
        ):
            given = {header: place, "X-Number-Of-Streams": streams, "TransferHeaderAuthorization": f"Bearer {token}"}
            answer = at.ask("COPY", path, token, headers=given)
            assert answer.copied, answer
            got = other.ask("GET", "/users/cilla/void", token)
            assert (got.status, got.body) == (200, b"")
            assert other.ask("DELETE", "/users/cilla/void", token).status == 200


@pytest.mark.parametrize("old", [None, b"what it was to replace"])
def test_a_copy_whose_source_breaks_off_leaves_no_half_file(
    elements: tuple[Element, Element], token: str, lure: list[str], old: bytes | None
) -> None:
    here, path = elements[0], "/users/cilla/broken"
    if old:
        assert here.put(path, token, old) == 201
    answer = here.ask("COPY", path, token, headers={"Source": f"https://{here.host}:{TLS}/short", "Overwrite": "T"})
    assert answer.status == 201 and b"failure" in answer.body and not answer.copied
    # all is as it was before it was told
    assert here.get(path, token) == (200 if old else 404)
    assert not old or here.ask("GET", path, token).body == old
    assert ".farmlet-new" not in here.ask("GET", "/users/cilla/", token).body.decode()
    assert here.put(path, token, b"again") in (200, 201) and here.ask("GET", path, token).body == b"again"
    assert here.ask("DELETE", path, token).status == 200 and here.get(path, token) == 404


def exists(sandbox: Sandbox, path: str) -> bool:
    return sandbox.exec("head", f"test -e {DATA}{path} && echo yes || true") == "yes"


def begin_copy(sandbox: Sandbox, here: Element, path: str, token: str) -> http.client.HTTPSConnection:
    """A copy of which a part has come, and no more will."""
    asker = here.connect()
    asker.request("COPY", path, headers={"Authorization": f"Bearer {token}", "Source": f"https://{here.host}:{TLS}/slow"})
    until(lambda: exists(sandbox, path), 10)
    return asker


def test_a_copy_whose_asker_has_gone_leaves_no_half_file(
    sandbox: Sandbox, elements: tuple[Element, Element], token: str, lure: list[str]
) -> None:
    asker = begin_copy(sandbox, elements[0], "/users/cilla/left", token)
    asker.close()
    until(lambda: not exists(sandbox, "/users/cilla/left"), 60)  # it tells how far it is every 5 s, and so notices
