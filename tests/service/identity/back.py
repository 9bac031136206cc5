"""Where a relying party on the member's own machine waits for them to come back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Back(BaseHTTPRequestHandler):
    """Says on a page what the browser came with."""

    def do_GET(self) -> None:
        page = f"<!doctype html><html lang=en><title>Back</title><main><h1>Back</h1>{self.command} {self.path}</main></html>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(page.encode())

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def listen() -> Iterator[str]:
    """The address of one, for the length of a `with`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Back)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
