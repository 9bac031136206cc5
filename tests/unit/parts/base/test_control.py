"""The control API: who sees what, what is refused, and that a waiting agent is woken."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from farmlet.parts.base import control
from farmlet.parts.base.control import Control

NODES = {"head.farmlet.test": "head", "service.farmlet.test": "service"}
RESULT = {"check": "base.agent.unit", "ok": True, "evidence": "active", "seconds": 0.1, "at": 1.0}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for path in ("outbox/all", "outbox/head", "outbox/service", "inbox/head", "inbox/service", "results"):
        (tmp_path / path).mkdir(parents=True)
    return tmp_path


def ask(root: Path, method: str, url: str, node: str | None = "CN=head.farmlet.test", body: bytes = b"") -> tuple[str, bytes]:
    path, _, query = url.partition("?")
    environ: dict[str, Any] = {"REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": query}
    environ |= {"CONTENT_LENGTH": str(len(body)), "wsgi.input": io.BytesIO(body)}
    if node is not None:
        environ["HTTP_X_FARMLET_NODE"] = node
    said: list[str] = []
    data = b"".join(Control(root, NODES)(environ, lambda status, headers: said.append(status)))
    return said[0], data


def items(data: bytes) -> dict[str, bytes]:
    return {name: base64.b64decode(item["content"]) for name, item in json.loads(data)["items"].items()}


def test_a_node_sees_its_own_items_and_those_for_all(root: Path) -> None:
    (root / "outbox/all/accounts").write_bytes(b"[]")
    (root / "outbox/all/both").write_bytes(b"all")
    (root / "outbox/head/both").write_bytes(b"own")
    (root / "outbox/service/pool-token").write_bytes(b"not for head")
    (root / "outbox/head/.half-written").write_bytes(b"x")
    status, data = ask(root, "GET", "/node/wanted")
    assert status == "200 OK"
    assert items(data) == {"accounts": b"[]", "both": b"own"}


@pytest.mark.parametrize(
    "node", [None, "", "head.farmlet.test", "CN=", "CN=head", "CN=mallory.farmlet.test", "CN=head.farmlet.test,O=x"]
)
def test_who_is_no_node_is_refused(root: Path, node: str | None) -> None:
    for method, url in (("GET", "/node/wanted"), ("PUT", "/node/inbox/key"), ("POST", "/node/results")):
        assert ask(root, method, url, node, b"[]")[0].startswith("403")
    assert not list((root / "inbox").rglob("key"))


@pytest.mark.parametrize("name", ["", "../head/key", "..", ".hidden", "UPPER", "a/b", "a\n", "-x", "x" * 65])
def test_names_that_are_none_are_refused(root: Path, name: str) -> None:
    assert ask(root, "PUT", f"/node/inbox/{name}", body=b"x")[0].startswith("400")
    assert [path for path in (root / "inbox").rglob("*") if path.is_file()] == []


def test_the_inbox_is_bounded(root: Path) -> None:
    assert ask(root, "PUT", "/node/inbox/big", body=b"x" * (control.INBOX_BYTES + 1))[0].startswith("413")
    for index in range(control.INBOX_ITEMS):
        assert ask(root, "PUT", f"/node/inbox/item{index}", body=b"x")[0].startswith("204")
    assert ask(root, "PUT", "/node/inbox/more", body=b"x")[0].startswith("409")
    assert ask(root, "PUT", "/node/inbox/item0", body=b"new")[0].startswith("204")
    assert (root / "inbox/head/item0").read_bytes() == b"new"


def test_a_large_item_is_told_and_comes_when_asked_for(root: Path) -> None:
    large = b"x" * (control.INLINE_BYTES + 1)
    (root / "outbox/all/list").write_bytes(large)
    (root / "outbox/service/secret").write_bytes(b"not for head")
    told = json.loads(ask(root, "GET", "/node/wanted")[1])["items"]["list"]
    assert told == {"sha256": hashlib.sha256(large).hexdigest()}
    assert ask(root, "GET", "/node/item/list") == ("200 OK", large)
    for name in ("secret", "none", "../service/secret", ""):
        assert ask(root, "GET", f"/node/item/{name}")[0].startswith("404")
    assert ask(root, "GET", "/node/item/list", None)[0].startswith("403")


def test_an_item_too_large_is_not_served(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "ITEM_BYTES", 1000)
    (root / "outbox/all/big").write_bytes(b"x" * (control.ITEM_BYTES + 1))
    (root / "outbox/all/link").symlink_to("/etc/passwd")
    assert items(ask(root, "GET", "/node/wanted")[1]) == {}


def test_results_are_kept_under_the_name_of_the_node(root: Path) -> None:
    assert ask(root, "POST", "/node/results", body=json.dumps([RESULT]).encode())[0].startswith("204")
    record = json.loads((root / "results/head.json").read_text())
    assert record["results"] == [RESULT]
    assert abs(record["at"] - time.time()) < 5
    assert not (root / "results/service.json").exists()


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"{}", b"[1]", b'[{"check": "x"}]', b"[" * 50_000]
    + [json.dumps([RESULT | more]).encode() for more in ({"ok": 1}, {"seconds": True}, {"more": 1})],
)
def test_what_is_no_results_is_refused(root: Path, body: bytes) -> None:
    assert ask(root, "POST", "/node/results", body=body)[0].startswith("400")


@pytest.mark.parametrize("wait", ["x", "1e"])
def test_a_wait_that_is_no_number_is_refused(root: Path, wait: str) -> None:
    assert ask(root, "GET", f"/node/wanted?wait={wait}")[0].startswith("400")


def test_a_waiting_node_is_woken_by_a_new_item(root: Path) -> None:
    known = json.loads(ask(root, "GET", "/node/wanted")[1])["version"]
    threading.Timer(0.5, lambda: (root / "outbox/head/token").write_bytes(b"t")).start()
    start = time.monotonic()
    _, data = ask(root, "GET", f"/node/wanted?version={known}&wait=20")
    assert items(data) == {"token": b"t"}
    assert 0.4 < time.monotonic() - start < 5


def test_without_news_the_wait_ends_with_the_same_version(root: Path) -> None:
    known = json.loads(ask(root, "GET", "/node/wanted")[1])["version"]
    assert json.loads(ask(root, "GET", f"/node/wanted?version={known}&wait=0.5")[1])["version"] == known
    assert json.loads(ask(root, "GET", f"/node/wanted?version={known}&wait=nan")[1])["version"] == known
