"""The element: a door and a pool, two ports and two host names of one machine."""

from __future__ import annotations

import secrets
import ssl
import threading
import urllib.parse
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dcache.door import Door
from dcache.exchange import Exchange, Server
from dcache.namespace import Entry, Namespace
from dcache.pool import Pool
from dcache.tokens import Authority

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Heard:
    """One request that came to `port`, door or pool."""

    port: str
    method: str
    path: str
    headers: Mapping[str, str]


@dataclass
class Dcache:
    """Serves until `close`. `certificate` and `key`: files (PEM); the pool's own may be others.

    `folder` keeps the bytes, `trusted` is the file of authorities that copies go by. `redirect`: as a door is by default;
    without it a door passes all data on itself. `slow`: copies tell that they go on.
    """

    authority: Authority
    folder: Path
    certificate: Path
    key: Path
    trusted: Path
    room: int | None = None
    address: str = "127.0.0.1"
    host: str = "localhost"
    pool_host: str = "127.0.0.1"
    ports: tuple[int, int] = (0, 0)
    pool_certificate: tuple[Path, Path] | None = None
    redirect: bool = True
    slow: bool = False
    heard: list[Heard] = field(default_factory=list)
    tickets: dict[str, tuple[str, Entry, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.namespace = Namespace(self.folder, self.room)
        self.namespace.make_folder(self.authority.prefix)
        self.open()

    def open(self) -> None:
        own = (self.certificate, self.key)
        self._servers = [self._listen(Door, self.ports[0], own), self._listen(Pool, self.ports[1], self.pool_certificate or own)]
        door, pool = (server.server_port for server in self._servers)
        self.ports = (door, pool)  # the same when it is closed and opened again

    def _listen(self, handler: type[Exchange], port: int, certificate: tuple[Path, Path]) -> Server:
        server = Server((self.address, port), handler)
        server.dcache = self
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        server.wrap(context)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return server

    @property
    def url(self) -> str:
        """The door's, which is the audience too."""
        return f"https://{self.host}:{self.ports[0]}"

    @property
    def base(self) -> str:
        """Where the facility's paths begin."""
        return self.url + self.authority.prefix

    def lead(self, path: str, entry: Entry, method: str) -> str:
        """Where the data of a file is taken or given."""
        ticket = secrets.token_hex(16)
        self.tickets[ticket] = path, entry, method
        return f"https://{self.pool_host}:{self.ports[1]}{urllib.parse.quote(path)}?dcache-http-uuid={ticket}"

    def hear(self, port: str, request: Exchange) -> None:
        self.heard.append(Heard(port, request.command, request.path, dict(request.headers.items())))

    def close(self) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()
