"""VictoriaMetrics behind its unix socket: what is written there and asked of it. Standard library only."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlencode

from farmlet.errors import FarmletError

SECONDS = 10  # for one question
# what a writer says of its body; VictoriaMetrics' docs, vmagent: remote write protocol
PASSED = ("Content-Type", "Content-Encoding", "X-Prometheus-Remote-Write-Version", "X-VictoriaMetrics-Remote-Write-Version")


class Away(FarmletError):
    """The store does not answer, or not with sense."""

    def __init__(self, why: object) -> None:
        super().__init__("the store of monitoring", f"does not answer: {why}", "farmlet check monitoring")


class Connection(HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Store:
    """`path`: its unix socket."""

    def __init__(self, path: str) -> None:
        self._path = path

    def write(self, node: str, body: bytes, headers: Mapping[str, str]) -> int:
        """Hand on samples (Prometheus remote write), all with the label `node`, whatever they say themselves. The HTTP status."""
        return self._ask("POST", f"/api/v1/write?{urlencode({'extra_label': f'node={node}'})}", body, headers)[0]

    def take(self, writer: str, lines: bytes, precision: str) -> int:
        """Hand on samples (InfluxDB's line protocol), all with the label `writer`. The HTTP status."""
        query = urlencode({"extra_label": f"writer={writer}"} | ({"precision": precision} if precision else {}))
        return self._ask("POST", f"/write?{query}", lines, {"Content-Type": "text/plain"})[0]

    def pass_on(self, path: str, query: str, form: bytes) -> tuple[int, bytes]:
        """A question of Prometheus' API as it came: HTTP status and JSON."""
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        return self._ask("POST", f"{path}?{query}" if query else path, form, kind)

    def select(self, query: str, start: float, end: float, step: float) -> list[dict[str, Any]]:
        """Series of the expression `query` (PromQL): {"metric": labels, "values": [[seconds since 1970, text]…]}."""
        return self._select("query_range", {"query": query, "start": f"{start:.0f}", "end": f"{end:.0f}", "step": f"{step:.0f}s"})

    def select_now(self, query: str, at: float | None = None) -> list[dict[str, Any]]:
        """The same as it is now, or was: {"metric": labels, "value": [seconds since 1970, text]}."""
        return self._select("query", {"query": query} | ({"time": f"{at:.0f}"} if at else {}))

    def _select(self, kind: str, values: Mapping[str, str]) -> list[dict[str, Any]]:
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        # its cache would move the end of a long range back to a multiple of the step, and leave out what is new
        body = urlencode({**values, "nocache": "1"}).encode()
        status, text = self._ask("POST", f"/api/v1/{kind}", body, form)
        try:
            said = json.loads(text)
            found: list[dict[str, Any]] = said["data"]["result"]
        except (ValueError, KeyError, TypeError):
            raise Away(f"HTTP {status}: {text[:300].decode(errors='replace')}") from None
        return found

    def _ask(self, method: str, target: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        connection = Connection(self._path)
        try:
            connection.request(method, target, body, dict(headers))
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, HTTPException) as error:
            raise Away(error) from error
        finally:
            connection.close()
