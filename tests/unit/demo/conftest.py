"""The real recorded data, and a small storage element that takes bearer tokens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from farmlet.demo.data import ensure_data
from waiting import Silent, serve


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file as PyPI gives it: tests fail, they do not skip, where it cannot be had."""
    return ensure_data(tmp_path_factory.mktemp("cache")).read_bytes()


@dataclass
class Element:
    """Files by path, the one token that is taken, and how often a request is to fail first (HTTP 503)."""

    url: str
    token: str = "first"
    failures: int = 0
    files: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)


@pytest.fixture
def element() -> Iterator[Element]:
    class Handler(Silent):
        def answer(self, status: int, body: bytes = b"") -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def refuse(self) -> bool:
            held.requests.append(f"{self.command} {self.path}")
            if held.failures:
                held.failures -= 1
                self.answer(503)
                return True
            if self.headers["Authorization"] != f"Bearer {held.token}":
                self.answer(403)
                return True
            return False

        def do_GET(self) -> None:
            if not self.refuse():
                body = held.files.get(self.path)
                self.answer(404 if body is None else 200, body or b"")

        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if not self.refuse():
                held.files[self.path] = body
                self.answer(201)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    held = Element(f"http://127.0.0.1:{server.server_port}")
    with serve(server):
        yield held


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that jobs read their token from."""
    path = tmp_path / "bearer"
    path.write_text("first\n")
    monkeypatch.setenv("BEARER_TOKEN_FILE", str(path))
    return path
