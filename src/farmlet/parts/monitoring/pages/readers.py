"""Where programs outside read: the questions of Prometheus' API that Grafana asks, with a token. WSGI, before the log-in.

GET or POST /prometheus/api/v1/query, query_range, series, labels, label/NAME/values (Prometheus docs, HTTP API). A reader
sees all numbers, as who administers does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus

from farmlet.parts.monitoring.pages.store import Away, Store
from farmlet.parts.monitoring.pages.tokens import identify
from farmlet.runtime.wsgi import Environ, Refused, Start, read_body

ROOT = "/prometheus/"
ASKED = re.compile(r"/api/v1/(query|query_range|series|labels|label/[A-Za-z_][A-Za-z0-9_]*/values|status/buildinfo)")
BODY_BYTES = 64 * 1024


class Readers:
    """The WSGI application. `tokens`: token by name of the reader."""

    def __init__(self, store: Store, tokens: Mapping[str, str]) -> None:
        self._store, self._tokens = store, dict(tokens)

    def __call__(self, environ: Environ, start: Start) -> Iterable[bytes]:
        try:
            status, data = self._ask(environ)
        except Refused as refused:
            status, data = int(refused.status[:3]), json.dumps({"status": "error", "error": refused.text}).encode()
        except Away as away:
            status, data = 503, json.dumps({"status": "error", "error": away.what}).encode()
        start(f"{status} {HTTPStatus(status).phrase}", [("Content-Type", "application/json"), ("Cache-Control", "no-store")])
        return [data]

    def _ask(self, environ: Environ) -> tuple[int, bytes]:
        identify(str(environ.get("HTTP_AUTHORIZATION", "")), self._tokens)
        path, method = environ.get("PATH_INFO", "").removeprefix(ROOT.rstrip("/")), environ["REQUEST_METHOD"]
        if not ASKED.fullmatch(path) or method not in ("GET", "POST"):
            raise Refused("404 Not Found", "nothing is asked so here")
        body = read_body(environ, BODY_BYTES) if method == "POST" else b""
        return self._store.pass_on(path, str(environ.get("QUERY_STRING", "")), body)
