"""Who has just logged in somewhere, as the nodes tell it: a member is asked for then, and not at the next look at all.

Each node leaves `inbox`/NODE/logins, lines of `SECONDS NAME`, of its last log-ins. A node can only have members asked for.
"""

from __future__ import annotations

from pathlib import Path

ITEM = "logins"
LIMIT = 16 * 1024  # bytes of a list


class Logins:
    """What is told in the folder `inbox`."""

    def __init__(self, inbox: Path) -> None:
        self._inbox = inbox
        self._seen: dict[Path, tuple[int, frozenset[str]]] = {}

    def take(self) -> set[str]:
        """The UNIX names of who logged in since the last call."""
        found = set[str]()
        for path in self._inbox.glob(f"*/{ITEM}"):
            before, known = self._seen.get(path, (0, frozenset[str]()))
            try:
                if (stamp := path.stat().st_mtime_ns) == before:
                    continue
                with path.open(encoding="utf-8", errors="replace") as stream:
                    lines = frozenset(stream.read(LIMIT).splitlines())
            except OSError:
                continue  # it is there at the next look
            self._seen[path] = (stamp, lines)
            found |= {line.partition(" ")[2] for line in lines - known}
        return found
