"""What the credential monitor costs: CPU seconds for the credentials that come due in a quarter of an hour.

    benchmarks/tokens.py [COUNT] [SECONDS]    10 000 credentials, 900 s by default

The monitor, a process of its own, renews COUNT credentials of COUNT members at a stand-in of an issuer beside it: TLS on
loopback, tokens of the usual size, refresh tokens rotated and each good once. The stand-in's own CPU is not counted. The looks
at everything that fall into SECONDS, one a minute, are counted besides.
"""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
import multiprocessing
import os
import resource
import ssl
import sys
import tempfile
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from record import record

from farmlet.parts.tokens.credmon import LONGEST, Monitor
from farmlet.parts.tokens.source import Issuers

LIFE = 3600  # seconds of a token
GOAL = 0.25  # of a core


class Counter(BaseHTTPRequestHandler):
    """Discovery and token endpoint; `live` has the number that is good next for each member."""

    protocol_version = "HTTP/1.1"
    live: ClassVar[dict[str, int]] = {}

    def do_GET(self) -> None:
        host = f"https://{self.headers['Host']}"
        self.answer(200, {"issuer": host, "token_endpoint": f"{host}/token"})

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        name, _, number = form["refresh_token"][0].partition(".")
        if self.live.get(name, 0) != int(number):
            return self.answer(400, {"error": "invalid_grant"})
        self.live[name] = int(number) + 1
        claims = json.dumps({"exp": int(time.time()) + LIFE, "filler": "x" * 350}).encode()
        token = f"{'h' * 60}.{base64.urlsafe_b64encode(claims).decode().rstrip('=')}.{'s' * 86}"
        return self.answer(200, {"access_token": token, "expires_in": LIFE, "refresh_token": f"{name}.{self.live[name]}"})

    def answer(self, status: int, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    """The handshake is done in the thread of its request."""

    daemon_threads = True
    request_queue_size = 64


def serve(folder: str, ready: Any) -> None:
    write_certificate(Path(folder))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{folder}/tls.crt", f"{folder}/tls.key")
    server = Server(("127.0.0.1", 0), Counter)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    ready.send(server.server_address[1])
    server.serve_forever()


def write_certificate(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + datetime.timedelta(1))
    made = builder.add_extension(names, False).add_extension(x509.BasicConstraints(True, None), True).sign(key, hashes.SHA256())
    (folder / "tls.crt").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    pem = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "tls.key").write_bytes(key.private_bytes(*pem))


def store(root: Path, issuer: str, count: int) -> None:
    for index in range(count):
        folder = root / f"member{index:05}"
        folder.mkdir()
        value = {"issuer": issuer, "client_id": "batch", "refresh_token": f"{folder.name}.0"}
        (folder / "farmlet.top").write_text(json.dumps(value))


def spent() -> float:
    """CPU seconds of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def work(monitor: Monitor) -> None:
    """One look, and as many passes as it takes until nothing is due."""
    monitor.sweep()
    while min(monitor._due.values()) <= time.time():
        monitor.sweep(scan=False)


def measure(folder: Path, count: int, seconds: float) -> tuple[float, float, float]:
    """CPU seconds of all renewals, with one look, and of one look at everything; seconds the renewals took."""
    here, there = multiprocessing.Pipe()
    issuer = multiprocessing.Process(target=serve, args=(str(folder), there), daemon=True)
    issuer.start()
    url = f"https://localhost:{here.recv()}"
    root = folder / "credentials"
    root.mkdir()
    store(root, url, count)
    monitor = Monitor(root, Issuers([url], str(folder / "tls.crt")))
    work(monitor)  # first tokens
    for use in root.glob("*/*.use"):
        os.utime(use, (0, 0))
    before, began = spent(), time.monotonic()
    work(monitor)
    renewals, took = spent() - before, time.monotonic() - began
    assert Counter.live == {} and sum(1 for _ in root.glob("*/*.use")) == count
    assert all(path.stat().st_mtime > time.time() - took - 5 for path in root.glob("*/*.use")), "some were not renewed"
    before = spent()
    monitor.sweep()
    look = spent() - before
    issuer.terminate()
    return renewals, look, took


def main() -> None:
    count, seconds = (int(word) for word in (*sys.argv[1:], *("10000", "900")[len(sys.argv) - 1 :]))
    with tempfile.TemporaryDirectory() as folder:
        renewals, look, took = measure(Path(folder), count, seconds)
    looks = look * seconds / LONGEST
    share = 100 * (renewals + looks) / seconds
    note = f"{renewals:.1f} s renewals ({took:.0f} s in a row), {looks:.1f} s looks; TLS stand-in of an issuer beside it"
    print(f"{share:.1f} % of a core: {note}")
    record(f"{count} credentials renewed in {seconds} s", f"≤ {GOAL:.0%} of a core", "% of a core", [share], note)


if __name__ == "__main__":
    main()
