"""The nodes as the daemon sees them: files in the control API's outbox, which their agents fetch."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

from farmlet.errors import FarmletError
from farmlet.facility.places import MEMBERSHIP
from farmlet.parts.accounts.sink import state
from farmlet.parts.accounts.sink.sink import Held, Outcome
from farmlet.runtime.files import write
from farmlet.runtime.rows import dump

MARK_SECONDS = 1800  # between two words that the membership was read
Rows = Mapping[str, Mapping[str, Any]]  # by UNIX name


class Nodes:
    """An `AccountSink`. `outbox` is the control API's folder for all nodes."""

    name = "nodes"

    def __init__(self, outbox: Path, layout: state.Layout) -> None:
        self._path, self._read, self._layout = outbox / "accounts", outbox / MEMBERSHIP, layout
        self._told: Rows = {}  # what is in the file since `_stamp`
        self._stamp = 0

    def look(self) -> Held:
        try:
            return Held(tuple(state.rebuild(row) for row in self._load().values()))
        except (KeyError, TypeError, ValueError) as error:
            raise FarmletError(str(self._path), f"does not hold what was written there: {error!r}") from error

    def plan(self, accounts: Sequence[state.Account], held: AbstractSet[str] = frozenset()) -> Outcome:
        return Outcome(tuple(tell(self._load(), self._want(accounts, held))))

    def sync(self, accounts: Sequence[state.Account], held: AbstractSet[str] = frozenset()) -> Outcome:
        before, wanted = self._load(), self._want(accounts, held)
        if wanted != before or not self._path.exists():
            write(self._path, dump(wanted.values()), 0o640)
        self._told, self._stamp = wanted, self._date()
        self._mark()
        return Outcome(tuple(tell(before, wanted)))

    def _mark(self) -> None:
        """When the membership was read last, in seconds since 1970: nodes may go on for so long with what they know."""
        now = time.time()
        if not self._read.exists() or now - self._read.stat().st_mtime > MARK_SECONDS:
            write(self._read, f"{now:.0f}\n".encode(), 0o640)

    def _want(self, accounts: Sequence[state.Account], held: AbstractSet[str]) -> dict[str, Mapping[str, Any]]:
        """The rows; of who is held the one that is there, unless the membership has come to an end."""
        before = self._load() if held else {}
        told = [account for account in accounts if account.name not in held or not account.active]
        rows: dict[str, Mapping[str, Any]] = {str(row["name"]): row for row in state.list_rows(told, self._layout)}
        rows |= {name: row for name, row in before.items() if name in held and name not in rows}
        return {name: rows[name] for name in sorted(rows)}

    def _load(self) -> Rows:
        if self._stamp and self._stamp == self._date():
            return self._told
        try:
            return {str(row["name"]): row for row in json.loads(self._path.read_bytes())}
        except (OSError, ValueError, KeyError, TypeError):
            return {}  # nobody was told anything yet

    def _date(self) -> int:
        """When the file was written, in ns; 0 if there is none."""
        return self._path.stat().st_mtime_ns if self._path.exists() else 0


def tell(before: Rows, after: Rows) -> Iterator[str]:
    """A line for each member whose row is another."""
    for name in sorted({*before, *after}):
        old, new = before.get(name, {}), after.get(name, {})
        if old == new:
            continue
        if not old or not new:
            yield f"member {name}: {'told, ' + str(new['state']) if new else 'not told any more'}"
            continue
        changed = [key for key in new if old.get(key) != new[key] and key != "left"]  # the state says so already
        if changed:
            yield f"member {name}: {'; '.join(f'{key} {_show(old.get(key))} → {_show(new[key])}' for key in changed)}"


def _show(value: object) -> str:
    if isinstance(value, Mapping):
        value = [f"{key} {one}" for key, one in value.items()]
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)
