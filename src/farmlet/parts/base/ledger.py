"""What the node agent remembers of what it has done. Standard library only."""

from __future__ import annotations

import json
from pathlib import Path

from farmlet.runtime.files import write


class Ledger:
    """What was brought about, by item: survives the agent, so a step cut off half-way is done again, a done one not."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            loaded = json.loads(path.read_text())
            self._done: dict[str, str] = loaded if isinstance(loaded, dict) else {}
        except (OSError, ValueError):
            self._done = {}

    def has(self, name: str, mark: str) -> bool:
        return self._done.get(name) == mark

    def note(self, name: str, mark: str) -> None:
        self._done[name] = mark
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write(self._path, json.dumps(self._done, indent=1).encode(), 0o600)
