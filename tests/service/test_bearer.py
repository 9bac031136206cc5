"""Where Python's `https://` sends the bearer's token: real servers, fsspec and aiohttp."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from farmlet.parts.software import bearer

pytestmark = pytest.mark.service
READ = """
import sys, fsspec
for url in sys.argv[1:]:
    with fsspec.open(url, {options}) as file:
        assert file.read() == b"data"
"""


class Server(ThreadingHTTPServer):
    """Answers `data` to all; /away leads to `other`. `heard`: the Authorization headers so far."""

    other = ""

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.heard: list[str | None] = []
        self.url = f"https://localhost:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Answer(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.heard.append(self.headers["Authorization"])
        away = self.path == "/away"
        self.send_response(307 if away else 200)
        self.send_header("Content-Length", "0" if away else "4")
        if away:
            self.send_header("Location", f"{self.server.other}/file")
        self.end_headers()
        if not away and self.command == "GET":
            self.wfile.write(b"data")

    do_HEAD = do_GET

    def log_message(self, *words: object) -> None: ...


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate, a token, and the module registered as for a Python of its own."""
    made = tmp_path_factory.mktemp("bearer")
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "1"]
    key = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", *names]
    subprocess.run([*key, "-keyout", made / "key.pem", "-out", made / "cert.pem"], check=True, capture_output=True)
    (made / "token").write_text("first\n")
    (made / "certificates").mkdir()
    for path, text in bearer.list_files().items():
        target = made / "python" / path.relative_to(next(parent for parent in path.parents if parent.name == "site-packages"))
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    return made


@pytest.fixture
def servers(place: Path) -> Iterator[tuple[Server, Server]]:
    """An element of the facility, and one that is none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(place / "cert.pem", place / "key.pem")
    element, stranger = Server(context), Server(context)
    element.other, stranger.other = stranger.url, element.url
    (place / "storage.json").write_text(json.dumps({"elements": [{"name": "head", "url": element.url}]}))
    yield element, stranger
    for server in (element, stranger):
        server.shutdown()


def read(place: Path, *urls: str, options: str = "", **environment: str) -> None:
    there = {"SSL_CERT_FILE": str(place / "cert.pem"), "X509_CERT_DIR": str(place / "certificates")}
    there |= {"PYTHONPATH": str(place / "python"), "PATH": os.environ["PATH"], "BEARER_TOKEN_FILE": str(place / "token")}
    command = [sys.executable, "-c", READ.format(options=options), *urls]
    done = subprocess.run(command, env=there | environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_an_element_is_told_the_token_that_is_there_now(place: Path, servers: tuple[Server, Server]) -> None:
    element, _ = servers
    read(place, f"{element.url}/file")
    (place / "token").write_text("second\n")
    read(place, f"{element.url}/file")
    assert list(dict.fromkeys(element.heard)) == ["Bearer first", "Bearer second"]


def test_nobody_else_is_told_a_token(place: Path, servers: tuple[Server, Server]) -> None:
    element, stranger = servers
    read(place, f"{stranger.url}/file")
    read(place, f"{element.url}/away")
    assert set(stranger.heard) == {None} and None not in element.heard
    (place / "storage.json").write_text("{")
    element.heard.clear()
    read(place, f"{element.url}/file")
    assert set(element.heard) == {None}, "and no list is none"


def test_what_the_caller_says_stands(place: Path, servers: tuple[Server, Server]) -> None:
    element, _ = servers
    read(place, f"{element.url}/file", options='client_kwargs={"headers": {"Authorization": "Bearer mine"}}')
    assert set(element.heard) == {"Bearer mine"}


def test_the_places_of_a_token_in_their_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BEARER_TOKEN", " a ")
    monkeypatch.setenv("BEARER_TOKEN_FILE", str(tmp_path / "file"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "file").write_text("b\n")
    (tmp_path / f"bt_u{os.getuid()}").write_text("c\n")
    assert bearer.find_token() == "a"
    monkeypatch.delenv("BEARER_TOKEN")
    assert bearer.find_token() == "b"
    (tmp_path / "file").unlink()
    assert bearer.find_token() == "c"
