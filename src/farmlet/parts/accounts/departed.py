"""Members who are no more. A source of membership forgets whom it removes; the nodes must still know whose that uid was.

Names and numbers are never given again, so what is remembered here stays true.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from pathlib import Path

from farmlet.errors import FarmletError
from farmlet.parts.accounts.state import Account
from farmlet.runtime.files import write

Known = dict[str, dict[str, str | int]]


class Departed:
    """Everybody who ever had an account, in the file `path`: JSON {name: {"sub", "uid", "gid"}}."""

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
        told: dict[str, dict[str, str | int]] = {
            name: {"sub": one.sub, "uid": one.uid, "gid": one.gid} for name, one in here.items()
        }
        if keep and known | told != known:
            write(self._path, json.dumps(known | told).encode(), 0o600)
        if keep:
            self._known = known | told
        gone = [
            Account(str(row["sub"]), name, int(row["uid"]), int(row["gid"]), name, "removed", False, {})
            for name, row in known.items()
            if name not in here and name not in held
        ]
        return tuple(sorted([*here.values(), *gone], key=lambda account: account.name))

    def _load(self) -> Known:
        if self._known:
            return self._known
        if not self._path.exists():
            return {}
        try:
            known = json.loads(self._path.read_text())
            return {str(name): {key: row[key] for key in ("sub", "uid", "gid")} for name, row in known.items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            hint = "put it back from a backup; or move it away, and end by hand what runs for removed members"
            raise FarmletError(str(self._path), f"cannot be read: {error!r}", hint) from error
