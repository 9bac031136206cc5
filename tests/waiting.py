"""What tests of real servers wait for, where these listen, and how those of the tests themselves run."""

from __future__ import annotations

import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any


def until(condition: Callable[[], Any], seconds: float = 60) -> Any:
    """The condition's value as soon as it is true."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.05)
    return found


def find_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Silent(BaseHTTPRequestHandler):
    """It tells nobody what it was asked."""

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serve(server: socketserver.BaseServer) -> Iterator[None]:
    """A server answers, in a thread of its own."""
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
