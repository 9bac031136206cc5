"""Where the nodes hand in their numbers: POST /monitoring/write, by Prometheus remote write, with the node's certificate.

The node's name is put to each sample here, so that no node can speak for another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus

from farmlet.parts.monitoring.pages.copies import Copies
from farmlet.parts.monitoring.pages.store import PASSED, Away, Store
from farmlet.runtime.wsgi import Environ, Refused, Start, identify, read_body

PATH = "/monitoring/write"
BODY_BYTES = 1024 * 1024  # packed; a node sends some 10 kB


class Intake:
    """The WSGI application. `nodes`: node name by fully qualified name; `copies`: further stores."""

    def __init__(self, store: Store, nodes: Mapping[str, str], copies: Copies | None = None) -> None:
        self._store, self._nodes, self._copies = store, dict(nodes), copies

    def __call__(self, environ: Environ, start: Start) -> Iterable[bytes]:
        try:
            status = self._take(environ)
        except Refused as refused:
            return refused.answer(start)
        except Away:  # the node keeps what it has, and tries again
            status = 503
        start(f"{status} {HTTPStatus(status).phrase}", [])
        return []

    def _take(self, environ: Environ) -> int:
        node = identify(environ, self._nodes)
        if (environ["REQUEST_METHOD"], environ.get("PATH_INFO", "")) != ("POST", PATH):
            raise Refused("404 Not Found", "no such page")
        body = read_body(environ, BODY_BYTES)
        keys = {name: "CONTENT_TYPE" if name == "Content-Type" else f"HTTP_{name.upper().replace('-', '_')}" for name in PASSED}
        headers = {name: str(environ[key]) for name, key in keys.items() if key in environ}
        status = self._store.write(node, body, headers)
        if self._copies and status < 300:
            self._copies.add(node, body, headers)
        return status
