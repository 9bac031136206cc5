"""A small real issuer that rotates refresh tokens and refuses reuse, and members who store credentials of it."""

from __future__ import annotations

import base64
import contextlib
import http.server
import json
import os
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path

from farmlet.parts.tokens import credmon
from farmlet.parts.tokens.source import Issuers


class Issuer(http.server.ThreadingHTTPServer):
    """Knows one live refresh token a member (`name.number`); `fault` makes the token endpoint answer so.

    It answers while `awake`; `after` is called between taking a refresh token and the answer. `targets`: the audiences that the
    client is registered for, None for any; `wanted`: those of the last request, with or without a right to them.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Endpoint)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.live = {"alice": 0, "bob": 0}
        self.asked: list[str] = []
        self.life = 3600
        self.fault: tuple[int, str] | None = None
        self.during: Callable[[], object] = lambda: None
        self.after: Callable[[], object] = lambda: None
        self.awake = threading.Event()
        self.awake.set()
        self.questions = 0
        self.targets: set[str] | None = None
        self.wanted: list[str] = []


class Endpoint(http.server.BaseHTTPRequestHandler):
    server: Issuer

    def do_GET(self) -> None:
        self.server.questions += 1
        self.server.awake.wait()
        self.answer(200, {"issuer": self.server.url, "token_endpoint": self.server.url + "/token"})

    def do_POST(self) -> None:
        form = urllib.parse.parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        held = form["refresh_token"][0]
        self.server.questions += 1
        self.server.asked.append(held)
        self.server.awake.wait()
        name, _, number = held.partition(".")
        self.server.during()
        if self.server.fault:
            status, code = self.server.fault
            return self.answer(status, {"error": code})
        if str(self.server.live.get(name)) != number:
            return self.answer(400, {"error": "invalid_grant", "error_description": "used or unknown"})
        self.server.wanted = " ".join(form.get("audience", [])).split()
        if self.server.targets is not None and not self.server.targets.issuperset(self.server.wanted):
            return self.answer(400, {"error": "invalid_target"})
        self.server.live[name] += 1
        self.server.after()
        now = int(time.time())
        claims = base64.urlsafe_b64encode(json.dumps({"exp": now + self.server.life, "n": number}).encode()).decode().rstrip("=")
        token = {"access_token": f"h.{claims}.s", "expires_in": self.server.life, "token_type": "Bearer"}
        return self.answer(200, token | {"refresh_token": f"{name}.{self.server.live[name]}"})

    def answer(self, status: int, value: object) -> None:
        body = json.dumps(value).encode()
        with contextlib.suppress(OSError):  # who asked has gone
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def run() -> Iterator[Issuer]:
    server = Issuer()
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.awake.set()
    server.shutdown()
    server.server_close()


def store(root: Path, issuer: str, token: str, member: str = "", service: str = "farmlet") -> Path:
    """What condor_credd does with a member's credential."""
    top = root / (member or token.partition(".")[0]) / f"{service}.top"
    top.parent.mkdir(exist_ok=True)
    top.write_text(json.dumps({"issuer": issuer, "client_id": "batch", "refresh_token": token}))
    top.chmod(0o600)
    return top


def watch(root: Path, issuer: Issuer, audience: str = "") -> credmon.Monitor:
    return credmon.Monitor(root, Issuers([issuer.url]), audience)


def age(top: Path, seconds: float) -> None:
    past = time.time() - seconds
    os.utime(top, (past - 1, past - 1))
    os.utime(top.with_suffix(".use"), (past, past))


def held(top: Path) -> str:
    return str(json.loads(top.read_text())["refresh_token"])


def derive(top: Path, handle: str, **wish: str) -> Path:
    """A narrower token from the member's credential."""
    narrow = top.with_name(f"farmlet_{handle}.top")
    narrow.write_text(json.dumps({"of": "farmlet", **(wish or {"scopes": "storage.read:/x"})}))
    return narrow


def crowd(root: Path, issuer: Issuer, count: int) -> None:
    """Credentials of many members at an issuer."""
    for index in range(count):
        issuer.live[f"{issuer.server_port}-{index}"] = 0
        store(root, issuer.url, f"{issuer.server_port}-{index}.0")


def count_tokens(root: Path, issuer: Issuer) -> int:
    return len(list(root.glob(f"{issuer.server_port}-*/farmlet.use")))
