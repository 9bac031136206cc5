"""Where Python's `https://` sends the bearer's token: real servers, fsspec and aiohttp."""

from __future__ import annotations

import json
import os
import re
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy
import pytest
import uproot

from dcache.centre import Centre
from farmlet.parts.software import bearer

pytestmark = pytest.mark.service
READ = """
import sys, fsspec
{before}
for url in sys.argv[1:]:
    with fsspec.open(url, {options}) as file:
        assert file.read() == b"data"
"""


class Server(ThreadingHTTPServer):
    """Answers `data`, or ranges of it, to all; /away leads to `other`. `heard`: the Authorization headers so far."""

    other = ""
    data = b"data"

    def __init__(self, context: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        if context:
            self.socket = context.wrap_socket(self.socket, server_side=True)
        self.heard: list[str | None] = []
        self.url = f"{'https' if context else 'http'}://localhost:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Answer(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.heard.append(self.headers["Authorization"])
        away, data = self.path == "/away", self.server.data
        if span := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"] or ""):
            data = data[int(span[1]) : int(span[2]) + 1]
        self.send_response(307 if away else 206 if span else 200)
        self.send_header("Content-Length", "0" if away else str(len(data)))
        self.send_header("Location" if away else "Accept-Ranges", f"{self.server.other}/file" if away else "bytes")
        self.end_headers()
        if not away and self.command == "GET":
            self.wfile.write(data)

    do_HEAD = do_GET

    def log_message(self, *words: object) -> None: ...


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate, and the module registered as for a Python of its own."""
    made = tmp_path_factory.mktemp("bearer")
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "1"]
    key = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", *names]
    subprocess.run([*key, "-keyout", made / "key.pem", "-out", made / "cert.pem"], check=True, capture_output=True)
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
    (place / "token").write_text("first\n")
    yield element, stranger
    for server in (element, stranger):
        server.shutdown()


def read(place: Path, *urls: str, before: str = "", options: str = "") -> None:
    run(place, READ.format(before=before, options=options), *urls)


def run(place: Path, program: str, *arguments: str, cafile: str = "cert.pem") -> None:
    there = {"SSL_CERT_FILE": str(place / cafile), "X509_CERT_DIR": str(place / "certificates")}
    there |= {"PYTHONPATH": str(place / "python"), "PATH": os.environ["PATH"], "BEARER_TOKEN_FILE": str(place / "token")}
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, env=there, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_an_element_is_told_the_token_that_is_there_now(place: Path, servers: tuple[Server, Server]) -> None:
    element, _ = servers
    program = """
import os, sys, fsspec
files = fsspec.filesystem("https")
assert files.cat_file(sys.argv[1]) == b"data"
open(os.environ["BEARER_TOKEN_FILE"], "w").write("second")
assert files.cat_file(sys.argv[1]) == b"data"
"""
    run(place, program, f"{element.url}/file")
    assert element.heard == ["Bearer first", "Bearer second"], "one process, one session"


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


def test_it_comes_beside_middlewares_of_the_caller(place: Path, servers: tuple[Server, Server]) -> None:
    element, _ = servers
    theirs = "async def theirs(request, handler): return await handler(request)"
    read(place, f"{element.url}/file", before=theirs, options='client_kwargs={"middlewares": (theirs,)}')
    assert None not in element.heard and element.heard


def test_from_a_stranger_to_an_element_and_back(place: Path, servers: tuple[Server, Server]) -> None:
    element, stranger = servers
    read(place, f"{stranger.url}/away")
    assert set(stranger.heard) == {None} and None not in element.heard and element.heard


def test_without_encryption_none_is_told(place: Path, servers: tuple[Server, Server]) -> None:
    element, _ = servers
    with Server(None) as plain:
        rows = [{"name": "a", "url": element.url}, {"name": "b", "url": plain.url.replace("http:", "https:")}]
        (place / "storage.json").write_text(json.dumps({"elements": rows}))
        element.other = plain.url
        read(place, f"{element.url}/away")
        assert set(plain.heard) == {None} and None not in element.heard
        plain.shutdown()


def test_uproot_reads_from_an_element(place: Path, servers: tuple[Server, Server]) -> None:
    element, _ = servers
    with uproot.recreate(place / "tree.root") as file:
        file["tree"] = {"x": numpy.arange(1000.0)}
    element.data = (place / "tree.root").read_bytes()
    program = "import sys, uproot; assert uproot.open(sys.argv[1] + ':tree')['x'].array(library='np').sum() == 499500"
    run(place, program, f"{element.url}/tree.root")
    assert None not in element.heard and element.heard


def test_where_a_dcache_leads_on_to_its_pool_no_token_goes_along(place: Path, tmp_path: Path) -> None:
    centre = Centre(tmp_path)
    try:
        (place / "storage.json").write_text(json.dumps({"elements": [{"name": "far", "url": centre.dcache.base}]}))
        (place / "token").write_text(centre.token())
        (place / "dcache.pem").write_text(centre.cafile.read_text())
        program = f"""
import os, sys, fsspec
files = fsspec.filesystem("https")
open("{tmp_path}/sent", "wb").write(b"data" * 100)
files.put_file("{tmp_path}/sent", sys.argv[1], method="put")
assert files.cat_file(sys.argv[1]) == b"data" * 100
with fsspec.open(sys.argv[1]) as file:
    file.seek(396)
    assert file.read() == b"data"
"""
        run(place, program, f"{centre.dcache.base}/users/ada/file", cafile="dcache.pem")
        heard = centre.dcache.heard
        assert {one.method for one in heard if one.port == "pool"} == {"GET"}
        assert all(("Authorization" in one.headers) == (one.port == "door") for one in heard)
    finally:
        centre.close()
