"""What our WSGI services for nodes have in common. Who asks is told by the reverse proxy alone (`X-Farmlet-Node`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

Environ = Mapping[str, Any]
Known = TypeVar("Known")
Start = Callable[[str, list[tuple[str, str]]], Any]


class Refused(Exception):
    """An answer other than success: HTTP status line and one line of text."""

    def __init__(self, status: str, text: str) -> None:
        super().__init__(status, text)
        self.status, self.text = status, text

    def answer(self, start: Start) -> list[bytes]:
        start(self.status, [("Content-Type", "text/plain; charset=utf-8")])
        return [self.text.encode() + b"\n"]


def identify(environ: Environ, nodes: Mapping[str, Known]) -> Known:
    """What is known of the node that asks, by its fully qualified name. Raises Refused for everybody else."""
    subject = str(environ.get("HTTP_X_FARMLET_NODE", ""))
    node = nodes.get(subject.removeprefix("CN=")) if subject.startswith("CN=") else None
    if node is None:
        raise Refused("403 Forbidden", "this needs the certificate of a node of the facility")
    return node


def read_body(environ: Environ, limit: int) -> bytes:
    """The body of a request. Raises Refused for one that is too long."""
    length = str(environ.get("CONTENT_LENGTH") or "")
    if not length.isdigit():
        raise Refused("411 Length Required", "say how long the body is")
    if int(length) > limit:
        raise Refused("413 Content Too Large", f"at most {limit} bytes")
    data: bytes = environ["wsgi.input"].read(int(length))
    return data
