"""Origins of a Hub and of its members on this machine: TLS, and by the name asked for either the Hub or a server.

It stands for Caddy and the Hub's proxy, which have a test with the whole facility.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

DOMAIN = "notebooks.farmlet.test"


class Front:
    """`hub`: the Hub's port, once it is known."""

    def __init__(self, folder: Path) -> None:
        self.hub, self.port, self._routes = 0, 0, folder / "routes.json"
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        words = f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={DOMAIN}".split()
        subprocess.run([*words, "-keyout", folder / "front.key", "-out", folder / "front.crt"], check=True, capture_output=True)
        self._tls.load_cert_chain(folder / "front.crt", folder / "front.key")

    @property
    def url(self) -> str:
        return f"https://{DOMAIN}:{self.port}"

    def of(self, name: str) -> str:
        """The origin of a member."""
        return f"https://{name}.{DOMAIN}:{self.port}"

    def choose(self, head: bytes) -> int:
        """The port behind this request."""
        path = head.split(b" ")[1].decode()
        host = next(line for line in head.decode().split("\r\n") if line.lower().startswith("host:")).split(":")[1].strip()
        routes = json.loads(self._routes.read_text())
        found = [target for spec, target in routes.items() if spec != "/" and f"{host}{path}/".startswith(spec)]
        return urlsplit(found[0]).port or 0 if found and host != DOMAIN else self.hub

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # closed in any case: the loop goes on with what the garbage collector closed, and a later connection of its number hangs
        with suppress(OSError, asyncio.IncompleteReadError), closing(writer):
            head = await reader.readuntil(b"\r\n\r\n")
            behind, away = await asyncio.open_connection("127.0.0.1", self.choose(head))
            if b"upgrade: websocket" not in head.lower():  # one request a connection, for the next may be for another
                head = head.replace(b"Connection: keep-alive\r\n", b"").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
            with closing(away):
                away.write(head.replace(b"\r\n\r\n", b"\r\nX-Forwarded-Proto: https\r\n\r\n"))
                await asyncio.gather(pass_on(reader, away), pass_on(behind, writer))


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()


@contextmanager
def open_front(folder: Path) -> Iterator[Front]:
    front, loop = Front(folder), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    starting = asyncio.start_server(front.serve, "127.0.0.1", 0, ssl=front._tls)
    front.port = asyncio.run_coroutine_threadsafe(starting, loop).result().sockets[0].getsockname()[1]
    yield front
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
