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
from farmlet.parts.accounts.state import Account
from farmlet.runtime.files import write

Known = dict[str, dict[str, str | int]]


class Departed:
    """Everybody who ever had an account, in the file `path`: JSON {name: {"sub", "uid", "gid"}}.

    Who is removed has there also "left": when that was first seen, in seconds since 1970; whoever comes back has it no more.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: Known = {}  # what we wrote into the file

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
        if keep and new != known:
            write(self._path, json.dumps(new).encode(), 0o600)
        if keep:
            self._known = new
        removed = {name: replace(here.get(name) or _rebuild(name, new[name]), left=int(new[name]["left"])) for name in gone}
        return tuple(sorted((here | removed).values(), key=lambda account: account.name))

    def _load(self) -> Known:
        if self._known:
            return self._known
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
