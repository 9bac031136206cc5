"""The check that writes to an element, against servers that lose, change or keep what they are given."""

from __future__ import annotations

import http.server
import ssl
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from farmlet.parts.storage import probe
from farmlet.runtime import oauth
from farmlet.runtime.checks import Failed
from waiting import Silent, serve


class Shelf(Silent):
    """WebDAV as far as the check goes. `mood`: what is wrong with it."""

    protocol_version = "HTTP/1.1"
    kept: ClassVar[dict[str, bytes]] = {}
    mood = ""
    seen: ClassVar[list[str]] = []

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Authorization"] in self.mood:
            self.reply(403)
        else:
            self.kept[self.path] = data
            self.seen.append(self.headers["Authorization"])
            self.reply(507 if self.mood == "full" else 201)

    def do_GET(self) -> None:
        if self.path not in self.kept:
            return self.reply(404)
        data = self.kept[self.path]
        if self.mood == "no sums" and self.headers["Want-Digest"]:
            return self.reply(400)
        digest = f"{zlib.adler32(b'' if self.mood == 'sum' else data):08x}"
        return self.reply(200, data[1:] if self.mood == "short" else data, {"Digest": f"adler32={digest}"})

    def do_DELETE(self) -> None:
        if self.mood != "stays":
            self.kept.pop(self.path)
        self.reply(401 if self.mood == "refused" else 200)

    def reply(self, status: int, data: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """URL and folder of authorities."""
    folder = tmp_path_factory.mktemp("authorities")
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*make, *names, "-keyout", folder / "key", "-out", folder / "own.pem"], check=True, capture_output=True)
    subprocess.run(["openssl", "rehash", folder], check=True)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Shelf)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "own.pem", folder / "key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with serve(server):
        yield f"https://localhost:{server.server_port}/prefix", str(folder)


@pytest.fixture
def secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A client's secret, and an issuer of tokens that are good for an hour."""
    count = iter(range(100))

    def obtain(
        issuer: str, client: str, secret: str, scope: str, cafile: str | None = None, *, audience: str = ""
    ) -> oauth.Tokens:
        return oauth.Tokens(f"token-{next(count)}", "", 3600, scope)

    monkeypatch.setattr(oauth, "obtain", obtain)
    path = tmp_path / "secret"
    path.write_text("secret\n")
    probe._tokens.clear(), probe._resting.clear()
    Shelf.kept.clear(), Shelf.seen.clear()
    Shelf.mood = ""
    yield str(path)
    Shelf.mood = ""


def run(shelf: tuple[str, str], secret: str) -> str:
    return probe.check_element(shelf[0], shelf[0], "https://issuer", secret, shelf[1])


def test_a_file_comes_and_goes_below_the_prefix_with_one_token(shelf: tuple[str, str], secret: str) -> None:
    assert "written, read back, deleted" in run(shelf, secret)
    run(shelf, secret)
    assert Shelf.kept == {} and Shelf.seen == ["Bearer token-0"] * 2, "a token an hour, not one each time"


@pytest.mark.parametrize(
    "mood, said", [("full", "507"), ("short", "others came back"), ("sum", "checksum"), ("stays", "GET .* answers 200")]
)
def test_what_is_lost_or_changed_or_stays_is_told(shelf: tuple[str, str], secret: str, mood: str, said: str) -> None:
    Shelf.mood = mood
    with pytest.raises(Failed, match=said):
        run(shelf, secret)


def test_an_element_of_others_is_asked_for_no_checksum_which_it_may_not_have(shelf: tuple[str, str], secret: str) -> None:
    Shelf.mood = "no sums"
    assert "read back" in probe.check_element(shelf[0], shelf[0], "https://issuer", secret, shelf[1], digest=False)
    with pytest.raises(Failed, match="400"):
        run(shelf, secret)


def test_a_token_that_was_refused_is_not_used_again_and_no_other_for_a_minute(shelf: tuple[str, str], secret: str) -> None:
    Shelf.mood = "refused"
    with pytest.raises(Failed, match="answers 401"):
        run(shelf, secret)
    Shelf.mood = ""
    with pytest.raises(Failed, match=r"answers 401.*left alone for (60|59) s more"):
        run(shelf, secret)
    probe._resting[shelf[0]] = 0.0, "the minute is over"
    run(shelf, secret)
    assert Shelf.seen == ["Bearer token-0", "Bearer token-1"]


def test_keys_that_have_changed_are_no_fault_of_the_element(shelf: tuple[str, str], secret: str) -> None:
    run(shelf, secret)
    Shelf.mood = "Bearer token-0"
    assert "written, read back, deleted" in run(shelf, secret)
    Shelf.mood = "Bearer token-1 Bearer token-2"
    with pytest.raises(Failed, match="403"):
        run(shelf, secret)


def test_without_its_secret_it_says_so(shelf: tuple[str, str], tmp_path: Path) -> None:
    probe._tokens.clear()
    with pytest.raises(Failed, match="none"):
        run(shelf, str(tmp_path / "none"))
