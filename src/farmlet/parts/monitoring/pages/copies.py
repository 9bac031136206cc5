"""What further stores get: the same samples, once the store has them. While their relay starts anew they wait here."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping

from farmlet.parts.monitoring.pages.store import Away, Store

MOST = 1000  # requests that wait: some minutes of some nodes


class Copies:
    """`relay`: vmagent, which has a buffer of its own on disk. Thread-safe; nothing here keeps a node waiting for long."""

    def __init__(self, relay: Store) -> None:
        self._relay, self._lock = relay, threading.Lock()
        self._waiting = deque[tuple[str, bytes, Mapping[str, str]]](maxlen=MOST)

    def add(self, node: str, body: bytes, headers: Mapping[str, str]) -> None:
        self._waiting.append((node, body, headers))
        if not self._lock.acquire(blocking=False):
            return  # who has it hands this on too
        try:
            while self._waiting:
                # anything but a 5xx is its last word
                if self._relay.write(*self._waiting[0]) >= 500:
                    return
                self._waiting.popleft()
        except (Away, IndexError):
            return
        finally:
            self._lock.release()
