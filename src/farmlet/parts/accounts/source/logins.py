"""Who has just logged in somewhere, as `asking` tells it: a member is asked for then, and not at the next look at all."""

from __future__ import annotations

from pathlib import Path

LIMIT = 16 * 1024  # bytes of a list


class Logins:
    """What is told in the file `path`, lines of `SECONDS NAME` of the last log-ins."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp, self._known = 0, frozenset[str]()

    def take(self) -> set[str]:
        """The UNIX names of who logged in since the last call."""
        try:
            if (stamp := self._path.stat().st_mtime_ns) == self._stamp:
                return set()
            with self._path.open(encoding="utf-8", errors="replace") as stream:
                lines = frozenset(stream.read(LIMIT).splitlines())
        except OSError:
            return set()  # it is there at the next look
        new = lines - self._known
        self._stamp, self._known = stamp, lines
        return {line.partition(" ")[2] for line in new}
