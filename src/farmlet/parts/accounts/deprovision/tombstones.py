"""Members who are no more. A source of membership forgets whom it removes; the nodes must still know whose that uid was.

Names and numbers are never given again, so what is remembered here stays true.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from pathlib import Path

from farmlet.errors import FarmletError
from farmlet.parts.accounts.sink.state import Account, Fault
from farmlet.parts.accounts.source.membership import Member
from farmlet.runtime.files import write
from farmlet.runtime.seen import Bearer

Known = dict[str, dict[str, str | int]]


class Tombstones:
    """Everybody who ever had an account, in the file `path`: JSON {name: {"sub", "uid", "gid"}}.

    Who is removed has there also "left": when that was first seen, in seconds since 1970; whoever comes back has it no more.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: Known | None = None  # as far as it was read
        self._saved: Known = {}  # what is in the file

    def find(self, sub: str) -> str | None:
        """The UNIX name of who was ever told by this `sub`. Raises FarmletError."""
        return next((name for name, row in self._load().items() if row["sub"] == sub), None)

    def learn(self, accounts: Iterable[Account]) -> None:
        """Know those too whom a directory or the nodes know, should the file have been lost. Raises FarmletError."""
        known = dict(self._load())
        for one in accounts:
            if one.name not in known:
                known[one.name] = {"sub": one.sub, "uid": one.uid, "gid": one.gid}
                if one.state == "removed":
                    known[one.name]["left"] = one.left or int(time.time())
        self._known = known

    def find_clashes(self, members: Iterable[Member]) -> dict[str, Fault]:
        """Those by `sub` who can have no account, and why: the name or the number is somebody else's, for ever.

        Whose it is stays as they are, should they be missing. Raises FarmletError.
        """
        known, members = self._load(), list(members)
        owners, found = {row["uid"]: name for name, row in known.items()}, dict[str, tuple[Member, str, str]]()
        for one in members:
            row, owner = known.get(one.name), owners.get(one.uid, one.name)
            if row and (row["sub"], row["uid"]) != (one.sub, one.uid):
                found[one.sub] = one, one.name, f"has the name of somebody else, whose number is or was {row['uid']}"
            elif owner != one.name:
                found[one.sub] = one, str(owner), f"has the number {one.uid} of {owner}, whose files it would own"
        right = {one.name for one in members if one.sub not in found}  # who goes on as if nothing was
        return {
            sub: Fault(f"member {one.name!r}", what, frozenset({one.name, owner} - right))
            for sub, (one, owner, what) in found.items()
        }

    def find_missing(self, accounts: Iterable[Account], ended: AbstractSet[str]) -> set[str]:
        """Who had an account until now, has none of these, and did not end. Raises FarmletError."""
        here = {account.name for account in accounts if account.state != "removed"}
        known = self._load().items()
        return {name for name, row in known if name not in here and "left" not in row and row["sub"] not in ended}

    def list_members(self) -> dict[str, Bearer]:
        """Everybody, by UNIX name. Raises FarmletError."""
        return {name: Bearer(str(row["sub"]), int(row["uid"])) for name, row in self._load().items()}

    def complete(
        self, accounts: Iterable[Account], held: AbstractSet[str] = frozenset(), keep: bool = True
    ) -> tuple[Account, ...]:
        """The accounts, and as removed those who had one before and are not `held`; remembers the new ones if it is to `keep`.

        Raises FarmletError or OSError.
        """
        here = {account.name: account for account in accounts}
        known = self._load()
        told: Known = {name: {"sub": one.sub, "uid": one.uid, "gid": one.gid} for name, one in here.items()}
        new = known | told
        gone = [name for name in new if name not in held and (name not in here or here[name].state == "removed")]
        for name in gone:
            new[name] = new[name] | {"left": known.get(name, {}).get("left") or int(time.time())}
        for name in held & known.keys():
            new[name] = known[name]
        if keep and new != self._saved:
            write(self._path, json.dumps(new).encode(), 0o600)
            self._saved = new
        if keep:
            self._known = new
        removed = {name: replace(here.get(name) or _rebuild(name, new[name]), left=int(new[name]["left"])) for name in gone}
        return tuple(sorted((here | removed).values(), key=lambda account: account.name))

    def _load(self) -> Known:
        if self._known is None:
            self._known = self._saved = self._read()
        return self._known

    def _read(self) -> Known:
        if not self._path.exists():
            return {}
        try:
            known = json.loads(self._path.read_text())
            keys = ("sub", "uid", "gid")
            return {
                str(name): {key: row[key] for key in keys} | {key: row[key] for key in ("left",) if key in row}
                for name, row in known.items()
            }
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            hint = "put it back from a backup; or move it away, and end by hand what runs for removed members"
            raise FarmletError(str(self._path), f"cannot be read: {error!r}", hint) from error


def _rebuild(name: str, row: Mapping[str, str | int]) -> Account:
    return Account(str(row["sub"]), name, int(row["uid"]), int(row["gid"]), name, "removed", False, {})
