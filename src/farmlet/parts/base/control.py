"""The control API: where the agents of all nodes fetch what is meant for them and leave what they have to say. WSGI.

    GET  /node/wanted?version=V&wait=SECONDS   {"version", "items": {name: {"sha256", "content" (base64)}}}; waits for
                                               another version than V, at most 55 s; a large item has no content here
    GET  /node/item/NAME                       one item as it is: a node asks for a large one when its sha256 is new
    PUT  /node/inbox/NAME                      a file from the node, e.g. its SSH host key: 204
    POST /node/results                         JSON list of {"check", "ok", "evidence", "seconds", "at"}: 204

Who asks is told by the reverse proxy alone (`X-Farmlet-Node`, the subject of the verified client certificate). A node sees
`outbox/all` and its own `outbox/<node>`, never another's. Other programs of the control node write into the outbox and
read the inbox as plain files; `results/<node>.json` is {"at", "results"}.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from farmlet.runtime.files import write
from farmlet.runtime.wsgi import Environ, Refused, Start, identify, read_body

NAME = re.compile(r"[a-z][a-z0-9._-]{0,63}")
INBOX_BYTES = 64 * 1024
INBOX_ITEMS = 32
ITEM_BYTES = 64 * 1024 * 1024
INLINE_BYTES = 64 * 1024  # larger items are asked for one by one
RESULTS_BYTES = 256 * 1024
WAIT_SECONDS = 55.0
TICK = 0.2

FIELDS: Mapping[str, type | tuple[type, ...]] = {
    "check": str,
    "ok": bool,
    "evidence": str,
    "seconds": (int, float),
    "at": (int, float),
}


@dataclass(frozen=True)
class Item:
    """A file of the outbox. `sha256` is hexadecimal."""

    data: bytes
    sha256: str


class Outbox:
    """The items of one node: those of `outbox/all`, and its own, which win. Reads a file again only when it changed."""

    def __init__(self, root: Path, node: str) -> None:
        self._folders = (root / "outbox" / "all", root / "outbox" / node)
        self._seen: dict[Path, tuple[tuple[int, int, int], Item]] = {}

    def load(self) -> dict[str, Item]:
        """Every item by name. Names that are none (temporary files) and files that are too large are left out."""
        items: dict[str, Item] = {}
        for folder in self._folders:
            for path in sorted(folder.iterdir()) if folder.is_dir() else ():
                if NAME.fullmatch(path.name) and (item := self._read(path)) is not None:
                    items[path.name] = item
        return items

    def _read(self, path: Path) -> Item | None:
        try:
            info = path.lstat()
            mark = (info.st_ino, info.st_mtime_ns, info.st_size)
            if self._seen.get(path, (None,))[0] != mark:
                if not path.is_file() or path.is_symlink() or info.st_size > ITEM_BYTES:
                    return None
                data = path.read_bytes()
                self._seen[path] = (mark, Item(data, hashlib.sha256(data).hexdigest()))
        except OSError:  # replaced or removed between listing and reading: the next tick sees it
            return None
        return self._seen[path][1]


def version(items: Mapping[str, Item]) -> str:
    """A name for exactly these items: sha256 (hex) over names and contents."""
    lines = (f"{name} {item.sha256}\n" for name, item in sorted(items.items()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


class Control:
    """The WSGI application. `root`: its data; `nodes`: node name by fully qualified name."""

    def __init__(self, root: Path, nodes: Mapping[str, str]) -> None:
        self._root = root
        self._nodes = dict(nodes)

    def __call__(self, environ: Environ, start: Start) -> Iterable[bytes]:
        try:
            answer = self._answer(environ)
        except Refused as refused:
            return refused.answer(start)
        if answer is None:
            start("204 No Content", [])
            return []
        kind = "application/octet-stream" if isinstance(answer, bytes) else "application/json"
        start("200 OK", [("Content-Type", kind), ("Cache-Control", "no-store")])
        return [answer if isinstance(answer, bytes) else json.dumps(answer).encode()]

    def _answer(self, environ: Environ) -> dict[str, Any] | bytes | None:
        node = identify(environ, self._nodes)
        route = (environ["REQUEST_METHOD"], environ.get("PATH_INFO", ""))
        match route:
            case ("GET", "/node/wanted"):
                query = parse_qs(environ.get("QUERY_STRING", ""))
                return self._wanted(node, query.get("version", [""])[0], _number(query.get("wait", ["0"])[0]))
            case ("GET", str(path)) if path.startswith("/node/item/"):
                return self._hand_out(node, path.removeprefix("/node/item/"))
            case ("PUT", str(path)) if path.startswith("/node/inbox/"):
                self._receive(node, path.removeprefix("/node/inbox/"), read_body(environ, INBOX_BYTES))
            case ("POST", "/node/results"):
                self._record(node, read_body(environ, RESULTS_BYTES))
            case _:
                raise Refused("404 Not Found", "no such page")
        return None

    def _wanted(self, node: str, known: str, wait: float) -> dict[str, Any]:
        outbox = Outbox(self._root, node)
        end = time.monotonic() + min(max(wait, 0.0), WAIT_SECONDS)
        while True:
            items = outbox.load()
            found = version(items)
            if found != known or time.monotonic() >= end:
                break
            time.sleep(TICK)
        return {"version": found, "items": {name: _describe(item) for name, item in items.items()}}

    def _hand_out(self, node: str, name: str) -> bytes:
        item = Outbox(self._root, node).load().get(name)
        if item is None:
            raise Refused("404 Not Found", "there is no such item for this node")
        return item.data

    def _receive(self, node: str, name: str, data: bytes) -> None:
        if not NAME.fullmatch(name):
            raise Refused("400 Bad Request", "this is no name of an item")
        folder = self._root / "inbox" / node
        path = folder / name
        if not path.exists() and len(list(folder.iterdir())) >= INBOX_ITEMS:
            raise Refused("409 Conflict", f"a node has at most {INBOX_ITEMS} items in its inbox")
        # an unchanged file is left alone: whoever watches the inbox is woken by changes only
        if not path.exists() or path.read_bytes() != data:
            write(path, data, 0o640)

    def _record(self, node: str, data: bytes) -> None:
        try:
            results = json.loads(data)
        except (ValueError, RecursionError):
            raise Refused("400 Bad Request", "this is not JSON") from None
        if not isinstance(results, list) or not all(_is_result(result) for result in results):
            raise Refused("400 Bad Request", "this is not a list of results of checks")
        record = {"at": time.time(), "results": results}
        write(self._root / "results" / f"{node}.json", json.dumps(record, indent=1).encode(), 0o640)


def _describe(item: Item) -> dict[str, str]:
    if len(item.data) > INLINE_BYTES:
        return {"sha256": item.sha256}
    return {"sha256": item.sha256, "content": base64.b64encode(item.data).decode()}


def _is_result(value: object) -> bool:
    if not isinstance(value, dict) or set(value) != set(FIELDS):
        return False
    # bool is an int in Python; `seconds: true` is no number all the same
    numbers = not isinstance(value["seconds"], bool) and not isinstance(value["at"], bool)
    return numbers and all(isinstance(value[name], kind) for name, kind in FIELDS.items())


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise Refused("400 Bad Request", "`wait` is a number of seconds") from None
    return value if value == value else 0.0  # nan compares with nothing, not even with the end of a wait


def load(path: str) -> Control:
    """The application from its JSON file {"root", "nodes": {fqdn: name}}; what gunicorn is told to call."""
    config = json.loads(Path(path).read_text())
    return Control(Path(config["root"]), config["nodes"])
