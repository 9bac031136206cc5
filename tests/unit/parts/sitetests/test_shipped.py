"""The shipped tests as a site runs them, in the runner, over elements that a test plays. A real one has them in the sandbox."""

from __future__ import annotations

import base64
import json
import os
import ssl
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from farmlet.parts.sitetests import PACKAGE
from farmlet.parts.sitetests.result import Result, parse

RUNNER = Path(str(files(PACKAGE).joinpath("jobs/runner.py")))
SHIPPED = Path(str(files(PACKAGE).joinpath("shipped")))
TOKEN = "Bearer letter.of.credence"


class Element(BaseHTTPRequestHandler):
    """Keeps files for who has the token; `server.trouble` says what is wrong with it."""

    server: Server
    protocol_version = "HTTP/1.1"

    def answer(self, status: int, data: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def handle_any(self) -> None:
        held, trouble = self.server.held, self.server.trouble
        if self.path == "/.well-known/openid-configuration":  # an issuer too
            issuer = {"": self.server.url, "another": "https://other.example.org"}.get(trouble)
            return self.answer(200, json.dumps({"issuer": issuer} if issuer else [trouble]).encode())
        data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Authorization") != TOKEN and trouble != "open":
            return self.answer(403)
        if self.command == "COPY":
            place = urlsplit(self.headers["Source"])
            source = self.server.beside if place.port == self.server.beside.server_port else self.server
            if trouble == "no copies" or self.headers["TransferHeaderAuthorization"] != TOKEN:
                return self.answer(405)
            held[self.path] = source.held[place.path][: 5 if trouble == "short copies" else None]
            said = b"failure: the other side is away" if trouble == "lost copies" else b"success: Created"
            return self.answer(201, b"Perf Marker\nEnd\n" + said)
        if self.command == "PUT":
            held[self.path] = data[1:] if trouble == "eats" else data
            return self.answer(507 if trouble == "full" else 201, b"no space left")
        if self.path not in held:
            return self.answer(200 if trouble == "open" else 404)
        if self.command == "DELETE":
            self.server.deleted.append(self.path)
            del held[self.path]
            return self.answer(204)
        sum_ = zlib.adler32(held[self.path]) + (trouble == "wrong sum")
        return self.answer(200, held[self.path], Digest=f"adler32={sum_:08x}")

    do_HEAD = do_GET = do_PUT = do_DELETE = do_COPY = handle_any

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    """`beside`: another element, from which it fetches too."""

    def __init__(self, certificate: Path) -> None:
        self.held, self.deleted, self.trouble, self.beside = dict[str, bytes](), list[str](), "", self
        super().__init__(("127.0.0.1", 0), Element)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, certificate.with_name("key.pem"))
        self.socket = context.wrap_socket(self.socket, server_side=True)

    @property
    def url(self) -> str:
        return f"https://localhost:{self.server_port}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("element")
    words = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
    words += f" -addext subjectAltName=DNS:localhost -keyout {folder / 'key.pem'} -out {folder / 'bundle.pem'}"
    subprocess.run(words.split(), check=True, capture_output=True)
    found, other = Server(folder / "bundle.pem"), Server(folder / "bundle.pem")
    found.certificates = str(folder)  # type: ignore[attr-defined]
    found.beside, other.beside = other, found
    for one in (found, other):
        threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield found
    for one in (found, other):
        one.shutdown()
        one.server_close()


def run(folder: Path, name: str, environment: dict[str, str], token: str = "") -> Result:
    (folder / name).mkdir()
    (folder / name / f"{name}.py").write_bytes((SHIPPED / f"{name}.py").read_bytes())
    tests = [{"name": name, "file": f"{name}.py", "kind": "function", "timeout": 60}]
    spec = {"tests": tests, "environment": {"FARMLET_SITE": "tier1", **environment}, "head": 4000, "tail": 4000}
    (folder / "spec.json").write_text(json.dumps(spec))
    if token:
        (folder / "spec.token").write_text(token)
    subprocess.run([sys.executable, "-I", str(RUNNER)], cwd=folder, check=True, timeout=100)
    (found,) = parse((folder / "result.json").read_bytes(), [name])
    return found


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        ("", "1 elements answer, 1 keep 1048576 bytes"),
        ("open", "it shows /data without a token"),
        ("full", "answers 507: no space left"),
        ("eats", "others came back"),
        ("wrong sum", "its checksum is"),
    ],
)
def test_storage_keeps_what_it_is_given(server: Server, tmp_path: Path, trouble: str, said: str) -> None:
    server.trouble = trouble
    server.held.clear()
    server.deleted.clear()
    places = {"FARMLET_ELEMENTS": server.url, "FARMLET_STORES": server.url, "FARMLET_CERTIFICATES": server.certificates}  # type: ignore[attr-defined]
    found = run(tmp_path, "storage", places, TOKEN.removeprefix("Bearer "))
    assert found.code == (2 if trouble else 0) and said in found.text, found
    assert TOKEN.removeprefix("Bearer ") not in found.output
    if not trouble:
        assert [label.rsplit(" ", 1)[-1] for label in found.numbers][:2] == ["write", "read"]
        assert server.deleted[0].startswith("/.farmlet/sitetests/tier1/") and not server.held
        assert server.deleted[0].endswith("-copy") and len(server.deleted) == 2
    if trouble in ("eats", "wrong sum"):
        assert not server.held, "nothing of it stays"


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        ("no copies", "answers 405"),
        ("lost copies", "the copy ends with 'failure: the other side is away'"),
        ("short copies", "its checksum is"),
    ],
)
def test_a_third_party_copy_that_fails_is_told_and_no_fault_of_the_site(
    server: Server, tmp_path: Path, trouble: str, said: str
) -> None:
    server.trouble = trouble
    server.held.clear()
    places = {"FARMLET_ELEMENTS": server.url, "FARMLET_STORES": server.url, "FARMLET_CERTIFICATES": server.certificates}  # type: ignore[attr-defined]
    found = run(tmp_path, "storage", places, TOKEN.removeprefix("Bearer "))
    assert found.code == 1 and f"{server.url} fetches nothing from {server.url}: " in found.text and said in found.text


def test_each_element_keeps_a_file_and_fetches_from_the_other(server: Server, tmp_path: Path) -> None:
    site = server.beside
    both = f"{server.url} {site.url}"
    places = {"FARMLET_ELEMENTS": both, "FARMLET_STORES": both, "FARMLET_CERTIFICATES": server.certificates}  # type: ignore[attr-defined]
    for trouble, code, said in (("", 0, "2 elements answer, 2 keep"), ("full", 2, f"{site.url}: PUT ")):
        server.trouble, site.trouble = "", trouble
        server.deleted.clear()
        site.deleted.clear()
        (tmp_path / f"{code}").mkdir()
        found = run(tmp_path / f"{code}", "storage", places, TOKEN.removeprefix("Bearer "))
        assert found.code == code and said in found.text and server.url not in found.text, found
        assert any(path.endswith("-copy") for path in server.deleted) is (code == 0)
    site.trouble = ""


def test_repositories_are_looked_for_where_they_are_promised(tmp_path: Path) -> None:
    for number, (names, code, said) in enumerate(
        (("", 0, "no repository is promised"), ("sft.example.org", 2, "sft.example.org is not there: "))
    ):
        (tmp_path / str(number)).mkdir()
        found = run(tmp_path / str(number), "cvmfs", {"FARMLET_REPOSITORIES": names, "FARMLET_CVMFS_ROOT": str(tmp_path)})
        assert found.code == code and said in found.text, found
    repository = tmp_path / "sft.example.org"
    repository.mkdir()
    (tmp_path / "a").mkdir()
    wanted = {"FARMLET_REPOSITORIES": repository.name, "FARMLET_CVMFS_ROOT": str(tmp_path)}
    assert run(tmp_path / "a", "cvmfs", wanted).code == 2  # a folder that nothing is mounted on
    os.setxattr(repository, "user.revision", b"42")  # as the client tells it
    (repository / "setup").write_text("x")
    (tmp_path / "b").mkdir()
    found = run(tmp_path / "b", "cvmfs", wanted)
    assert found.code == 0 and "1 repositories are there" in found.text and repository.name in found.numbers


def test_storage_without_a_token_and_without_an_answer(server: Server, tmp_path: Path) -> None:
    server.trouble = ""
    places = {"FARMLET_ELEMENTS": server.url, "FARMLET_CERTIFICATES": server.certificates}  # type: ignore[attr-defined]
    (tmp_path / "a").mkdir()
    found = run(tmp_path / "a", "storage", {**places, "FARMLET_STORES": server.url, "FARMLET_NO_TOKEN": "the issuer is away"})
    assert found.code == 1 and "there is no token: the issuer is away" in found.text
    (tmp_path / "b").mkdir()
    assert run(tmp_path / "b", "storage", places).code == 0  # an external issuer's: nothing was promised
    (tmp_path / "c").mkdir()
    found = run(tmp_path / "c", "storage", {**places, "FARMLET_ELEMENTS": "https://localhost:9"})
    assert found.code == 2 and "refused" in found.text


@pytest.mark.parametrize(
    ("trouble", "wish", "said"),
    [
        ("", {}, "are reached"),
        ("", {"FARMLET_COLLECTOR": "localhost:9"}, "the pool at localhost:9 is not reached: "),
        ("", {"FARMLET_CERTIFICATES": "/nonexistent"}, "/nonexistent/bundle.pem is not here"),
        ("", {"FARMLET_ISSUER": "https://localhost:9"}, "the issuer https://localhost:9 does not answer: "),
        ("strange", {}, "does not answer: "),
        ("another", {}, "is of the issuer https://other.example.org"),
    ],
)
def test_the_facility_is_reached(server: Server, tmp_path: Path, trouble: str, wish: dict[str, str], said: str) -> None:
    server.trouble = trouble
    places = {"FARMLET_COLLECTOR": f"localhost:{server.server_port}", "FARMLET_ISSUER": server.url}
    found = run(tmp_path, "network", {**places, "FARMLET_CERTIFICATES": server.certificates, **wish})  # type: ignore[attr-defined]
    assert found.code == (0 if said == "are reached" else 2) and said in found.text, found


def test_an_issuer_whose_authority_nobody_knows_is_not_reached(server: Server, tmp_path: Path) -> None:
    server.trouble = ""
    made = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=stranger"
    subprocess.run(f"{made} -keyout {tmp_path}/key.pem -out {tmp_path}/bundle.pem".split(), check=True, capture_output=True)
    places = {"FARMLET_COLLECTOR": f"localhost:{server.server_port}", "FARMLET_ISSUER": server.url}
    found = run(tmp_path, "network", {**places, "FARMLET_CERTIFICATES": str(tmp_path)})
    assert found.code == 2 and "certificate verify failed" in found.text


@pytest.mark.parametrize(
    ("claims", "code", "said"),
    [
        ({"exp": 3600, "nbf": 0}, 0, "is good for 60 min"),
        ({"exp": 60, "nbf": 0}, 2, "is good for 6"),
        ({"exp": 9000, "nbf": 600}, 2, "the token begins in"),
        ({"exp": 3600, "nbf": 0, "iss": "https://other"}, 2, "the token is of https://other"),
        (None, 3, "there is no token"),
    ],
)
def test_a_token_is_fresh(claims: dict[str, Any] | None, code: int, said: str, tmp_path: Path) -> None:
    token = ""
    if claims is not None:
        now = time.time() + 1
        full = {"iss": "https://i", **claims, "exp": now + claims["exp"], "nbf": now + claims["nbf"]}
        token = f"h.{base64.urlsafe_b64encode(json.dumps(full).encode()).decode().rstrip('=')}.s"
    found = run(tmp_path, "token", {"FARMLET_ISSUER": "https://i"}, token)
    assert found.code == code and said in found.text, found


APPTAINER = """#!/bin/sh
for last; do image=$before before=$last; done
case $image in
*/bad) echo begun; echo cannot mount >&2; exit 255;;
*/slow) sleep 60;;
esac
"""


@pytest.mark.parametrize(
    ("images", "code", "said"),
    [
        ("good also", 0, "IMAGES/good and 1 more images start"),
        ("also", 2, "IMAGES/good is not here"),
        ("good bad", 2, "IMAGES/bad does not start: cannot mount"),
        ("good gone", 2, "IMAGES/gone is not here"),
        ("good new", 0, "IMAGES/good starts"),
        ("good slow", 2, "IMAGES/slow does not start within 1 s"),
        (" ".join(["good", *(f"i{number}" for number in range(11))]), 0, "IMAGES/good and 9 more images start; 2 are not tried"),
    ],
)
def test_each_image_that_is_offered_starts(
    tmp_path: Path, images: str, code: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`gone` is offered and not here; `new` is in the file, and not made yet."""
    folder = tmp_path / "images"
    folder.mkdir()
    for name in images.split():
        if name not in ("gone", "new"):
            (folder / name).mkdir()
    rows = [{"name": name, "offered": name != "new"} for name in images.split()]
    (folder / "images.json").write_text(json.dumps({"images": rows}))
    (tmp_path / "apptainer").write_text(APPTAINER)
    (tmp_path / "apptainer").chmod(0o755)
    paths = " ".join(str(folder / name) for name in images.split())
    places = {"FARMLET_IMAGE": str(folder / "good"), "FARMLET_IMAGES": paths, "PATH": f"{tmp_path}:/usr/bin:/bin"}
    shipped = tmp_path / "shipped"
    shipped.mkdir()
    text = (SHIPPED / "image.py").read_text()
    (shipped / "image.py").write_text(text.replace("PATIENCE = 25", "PATIENCE = 1"))
    monkeypatch.setattr(sys.modules[__name__], "SHIPPED", shipped)
    found = run(tmp_path, "image", places)
    assert found.code == code and said in found.text.replace(str(folder), "IMAGES"), found


def test_processing_power_has_a_score(tmp_path: Path) -> None:
    found = run(tmp_path, "power", {})
    assert found.code == 0 and found.numbers["score"][0] > 1, found


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({}, ""),
        ({"FARMLET_CORES": "99999"}, "cores where a drone asks for 99999"),
        ({"FARMLET_MEMORY": "999999999"}, "MiB of memory where a drone asks for 999999999"),
        ({"FARMLET_DISK": "999999999"}, "MiB of disk"),
    ],
)
def test_room_is_what_a_drone_asks_for(tmp_path: Path, wish: dict[str, str], said: str) -> None:
    found = run(tmp_path, "room", {"FARMLET_CORES": "1", "FARMLET_MEMORY": "100", "FARMLET_DISK": "10", **wish})
    assert found.code == (2 if said else 0) and said in found.text


@pytest.mark.parametrize(
    ("slot", "memory", "code"),
    [
        ("Memory = 256\nTotalMemory = 77\n", 256, 0),
        ("DynamicSlot = true\nMemory = 256\nTotalMemory = 77\n", 77, 2),
        ("Cpus = 1\n", 0, 0),
    ],
)
def test_room_is_what_the_batch_system_offers(
    tmp_path: Path, slot: str, memory: int, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".machine.ad").write_text(f"Cpus = 3\nTotalCpus = 3\n{slot}")
    monkeypatch.setenv("_CONDOR_MACHINE_AD", str(tmp_path / ".machine.ad"))
    found = run(tmp_path, "room", {"FARMLET_CORES": "1", "FARMLET_MEMORY": "100", "FARMLET_DISK": "10"})
    assert found.code == code and found.numbers["cores"][0] == 3
    assert found.numbers["memory"][0] == memory or (not memory and found.numbers["memory"][0] > 100)
