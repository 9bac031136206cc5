"""UNIX names and numbers for members whom somebody else keeps: given once, kept for ever. Standard library only.

The rules are those of our own identity: members and groups share one ledger, since a member's private group has the
member's name and number; no name and no number is ever given to another bearer.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from farmlet.errors import FarmletError
from farmlet.facility.names import derive_member, unix_group
from farmlet.runtime.seen import Seen

SCHEMA = """
CREATE TABLE IF NOT EXISTS entry (
    name TEXT PRIMARY KEY,
    number INTEGER NOT NULL UNIQUE,
    kind TEXT NOT NULL CHECK (kind IN ('member', 'group')),
    bearer TEXT NOT NULL,
    allocated TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
    UNIQUE (kind, bearer)
) STRICT
"""


@dataclass(frozen=True)
class Entry:
    """`bearer`: a member's `sub` at the issuer, or a group's path in the facility file."""

    name: str
    number: int
    bearer: str


class Ledger:
    """The ledger at `path`. `first_uid`, `first_gid`: where the numbers of new members and groups begin.

    `seen`: what the nodes know. Should the file be restored from before some of it, they have their names and numbers again.
    """

    def __init__(self, path: Path, first_uid: int, first_gid: int, seen: Seen | None = None) -> None:
        self._path, self._seen, self._base = path, seen or Seen(), (first_uid, first_gid)
        self._first = {"member": self._seen.first("member", first_uid), "group": self._seen.first("group", first_gid)}
        self._subs = {one.sub: (name, one.uid) for name, one in self._seen.members.items()}

    def copy(self, path: Path) -> Ledger:
        """The same at `path`, for a dry run: what is allocated there was never given to anybody. Raises FarmletError."""
        if self._path.exists():
            try:
                with (
                    contextlib.closing(sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro", uri=True)) as source,
                    contextlib.closing(sqlite3.connect(path)) as target,
                ):
                    source.backup(target)
            except sqlite3.Error as error:
                raise FarmletError(str(self._path), f"the ledger of UNIX names: {error}") from error
        return Ledger(path, *self._base, self._seen)

    def ensure_groups(self, paths: Sequence[str]) -> dict[str, int]:
        """The gids of the facility's groups by path; new ones are given a number. Raises FarmletError.

        The UNIX name of a new group may be one that a member was given before: then the group needs another name.
        """
        with self._open() as connection:
            found = {path: _find(connection, "group", path) for path in paths}
            for path in (path for path, entry in found.items() if entry is None):
                name = unix_group(path)
                if name in _names(connection) or name in self._seen.members:
                    raise FarmletError(f"group {path}", f"{name} is or was the UNIX name of somebody", "name the group otherwise")
                found[path] = self._allocate(connection, "group", name, path, self._seen.groups.get(name))
            return {path: entry.number for path, entry in found.items() if entry is not None}

    def ensure_member(self, sub: str, username: str, groups: Sequence[str]) -> Entry:
        """The entry of the member `sub`, made from `username` when they are new: a later change of it changes nothing.

        `groups`: the facility's group paths, whose UNIX names no member may bear. Raises FarmletError.
        """
        with self._open() as connection:
            entry = _find(connection, "member", sub)
            if entry is None:
                taken = _names(connection) | self._seen.members.keys() | self._seen.groups.keys()
                name, number = self._subs.get(sub) or (derive_member(username, taken, groups), None)
                entry = self._allocate(connection, "member", name, sub, number)
            return entry

    def members(self) -> dict[str, Entry]:
        """Everybody who was ever given a name, by `sub`."""
        with self._open() as connection:
            rows = connection.execute("SELECT name, number, bearer FROM entry WHERE kind = 'member'")
            return {row[2]: Entry(*row) for row in rows}

    def _allocate(self, connection: sqlite3.Connection, kind: str, name: str, bearer: str, number: int | None = None) -> Entry:
        """A new entry; with a `number` that it had before, if nobody else has it by now."""
        if number is None or _is_taken(connection, number):
            highest = connection.execute("SELECT max(number) FROM entry WHERE kind = ?", (kind,)).fetchone()[0]
            number = max(self._first[kind], (highest or 0) + 1)
        while _is_taken(connection, number):
            number += 1
        values = (name, number, kind, bearer)
        connection.execute("INSERT INTO entry (name, number, kind, bearer) VALUES (?, ?, ?, ?)", values)
        return Entry(name, number, bearer)

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """One transaction, on disk when it is over: nobody is told a number that could be lost."""
        try:
            with contextlib.closing(sqlite3.connect(self._path, timeout=20, isolation_level=None)) as connection:
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute(SCHEMA)
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise FarmletError(str(self._path), f"the ledger of UNIX names: {error}") from error


def _find(connection: sqlite3.Connection, kind: str, bearer: str) -> Entry | None:
    query = "SELECT name, number, bearer FROM entry WHERE kind = ? AND bearer = ?"
    row = connection.execute(query, (kind, bearer)).fetchone()
    return Entry(*row) if row else None


def _is_taken(connection: sqlite3.Connection, number: int) -> bool:
    return connection.execute("SELECT 1 FROM entry WHERE number = ?", (number,)).fetchone() is not None


def _names(connection: sqlite3.Connection) -> set[str]:
    return {row[0] for row in connection.execute("SELECT name FROM entry")}
