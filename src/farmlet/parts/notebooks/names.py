"""Names for servers that have a network of their own: a relay to whom the node itself asks. Standard library only.

The node often asks at its loopback (systemd-resolved, a sandbox), which those do not reach. systemd hands over the socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path
from typing import Any

RESOLVERS = Path("/etc/resolv.conf")
FIRST = 3  # file descriptor: sd_listen_fds(3)
PORT = 53
SECONDS = 4  # for one of those who are asked
MOST = 256  # questions at a time


def list_resolvers(path: Path = RESOLVERS) -> list[str]:
    rows = [line.split() for line in path.read_text().splitlines()]
    return [row[1] for row in rows if len(row) > 1 and row[0] == "nameserver"]


class Question(asyncio.DatagramProtocol):
    """One that is asked from a port of its own, which makes a false answer hard to place."""

    def __init__(self, words: bytes) -> None:
        self._words = words
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        transport.sendto(self._words)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if data[:2] == self._words[:2] and not self.answer.done():
            self.answer.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(exc)


class Relay(asyncio.DatagramProtocol):
    def __init__(self, port: int = PORT, resolvers: Path = RESOLVERS) -> None:
        self._port, self._resolvers = port, resolvers
        self._asked: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if len(self._asked) < MOST:  # who asks too much is not answered, and asks again
            task = asyncio.create_task(self._ask(data, addr))
            self._asked.add(task)
            task.add_done_callback(self._asked.discard)

    async def _ask(self, words: bytes, whose: Any) -> None:
        for server in list_resolvers(self._resolvers):
            with contextlib.suppress(OSError):
                loop = asyncio.get_running_loop()
                transport, question = await loop.create_datagram_endpoint(
                    lambda: Question(words), remote_addr=(server, self._port)
                )
                try:
                    async with asyncio.timeout(SECONDS):
                        self._transport.sendto(await question.answer, whose)
                    return
                finally:
                    transport.close()


async def serve(sock: socket.socket) -> None:
    await asyncio.get_running_loop().create_datagram_endpoint(Relay, sock=sock)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(socket.socket(fileno=FIRST)))
