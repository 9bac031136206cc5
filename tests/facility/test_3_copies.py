"""Third-party copies between the facility's element and the stand-in site's, and the check that writes."""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat

import pytest
from conftest import Sandbox
from element import Element, find
from person import Person
from test_3_leaving import until

pytestmark = [pytest.mark.facility, pytest.mark.usefixtures("running"), pytest.mark.timeout(600)]
GIB = 1 << 30
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


@pytest.fixture(scope="module")
def big(elements: tuple[Element, Element], token: str) -> Iterator[str]:
    """A file of 1 GiB on the facility's element: its checksum. Nothing of it stays, on either element."""
    here, there = elements
    blocks = repeat(BLOCK, GIB // len(BLOCK))
    assert here.ask("PUT", "/users/cilla/big", token, blocks, {"Content-Length": str(GIB)}, seconds=300).status == 201
    total = 1
    for _ in range(GIB // len(BLOCK)):
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


def test_the_check_writes_and_leaves_nothing_and_finds_a_disk_that_refuses(sandbox: Sandbox) -> None:
    def rows() -> dict[str, dict[str, object]]:
        found = sandbox.run("check", "storage", "--json", code=None).stdout
        return {f"{row['check']}@{row['node']}": row for row in json.loads(found)}

    row = rows()["storage.keeps.head@service"]
    assert row["ok"] and "read back" in str(row["evidence"])
    until(lambda: sandbox.exec("head", "ls -A /srv/farmlet/storage/.farmlet") == "", 20)
    sandbox.exec("head", "chown root:root /srv/farmlet/storage/.farmlet")
    try:
        row = rows()["storage.keeps.head@service"]
        assert not row["ok"] and "PUT" in str(row["evidence"])
    finally:
        sandbox.exec("head", "chown xrootd:xrootd /srv/farmlet/storage/.farmlet")
    assert rows()["storage.keeps.head@service"]["ok"]


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
