"""What door and pool have in common: bodies, answers, and files on their way in and out."""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from dcache.namespace import Entry, Full, Mismatch, Overtaken

if TYPE_CHECKING:
    from dcache.dcache import Dcache

BLOCK = 1 << 16


class Broken(Exception):
    """Who sends has gone."""


class Server(ThreadingHTTPServer):
    """A port of the element; the handshake is a matter of each connection's own thread."""

    daemon_threads = True
    allow_reuse_address = True
    dcache: Dcache

    def wrap(self, context: ssl.SSLContext) -> None:
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def handle_error(self, *_: object) -> None:
        pass  # clients that leave in the middle, or do not believe a certificate, are part of the tests


class Exchange(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    expects = False
    phrase: str | None = None

    @property
    def dcache(self) -> Dcache:
        assert isinstance(self.server, Server)
        return self.server.dcache

    def parse_request(self) -> bool:
        self.expects = False
        return super().parse_request()

    def handle_expect_100(self) -> bool:
        self.expects = True  # whoever reads the body says that it may come
        return True

    def read_body(self) -> Iterator[bytes]:
        if self.expects:
            self.send_response_only(100)
            self.end_headers()
            self.expects = False
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while size := int(self._line().split(b";")[0], 16):
                yield from self._read(size)
                self._line()
            self._line()
        else:
            yield from self._read(int(self.headers.get("Content-Length") or 0))

    def _line(self) -> bytes:
        line = self.rfile.readline(BLOCK)
        if not line.endswith(b"\n"):
            raise Broken
        return line.strip()

    def _read(self, size: int) -> Iterator[bytes]:
        while size:
            part = self.rfile.read1(min(size, BLOCK)) if hasattr(self.rfile, "read1") else self.rfile.read(min(size, BLOCK))
            if not part:
                raise Broken
            size -= len(part)
            yield part

    def answer(self, status: int, body: bytes = b"", phrase: str | None = None, **headers: str) -> None:
        """One whole answer. A body that nobody has read ends the connection."""
        said = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.expects or (self.command in ("PUT", "COPY", "PROPFIND") and status >= 400):
            said["Connection"] = "close"
        self.send_response(status, phrase)
        for name, value in ({"Content-Length": str(len(body))} | said).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def receive(self, path: str, entry: Entry, keep: bool) -> None:
        """An upload, and its answer. `keep`: whether what breaks off leaves its entry."""
        names = self.dcache.namespace
        try:
            names.reserve(int(self.headers.get("Content-Length") or 0), besides=entry)
            names.store(path, entry, self.read_body(), self.headers.get("Content-MD5", ""))
        except Full:
            names.discard(path, entry)
            self.answer(507, phrase="Insufficient storage: SER_DISK_FULL")
        except Mismatch:
            self.answer(400, b"Checksum mismatch")
        except Overtaken:
            self.answer(500, b"File has been replaced")
        except (Broken, OSError, ValueError):
            self.close_connection = True
            if not keep:
                names.discard(path, entry)
        else:
            self.answer(201, **self.find_digest(entry))

    def find_digest(self, entry: Entry) -> dict[str, str]:
        """Of what is wanted the one that there is, or nothing at all."""
        wanted = [one.partition(";")[0].strip().lower() for one in self.headers.get("Want-Digest", "").split(",")]
        found = [entry.sums[one] for one in wanted if one in entry.sums]
        return {"Digest": found[0]} if found else {}

    def give(self, entry: Entry) -> None:
        assert entry.data is not None
        data, more = entry.data.read_bytes(), self.find_digest(entry)
        if span := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first, last = int(span[1]), min(int(span[2] or len(data)), len(data) - 1)
            self.answer(206, data[first : last + 1], Content_Range=f"bytes {first}-{last}/{len(data)}", **more)
        else:
            self.answer(200, data, Accept_Ranges="bytes", **more)

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string(time.time() - self.dcache.authority.behind if timestamp is None else timestamp)

    def log_message(self, *_: object) -> None:
        pass
