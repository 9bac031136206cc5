"""What the daemon last read of an issuer that is not ours: for `farmlet user list` and `history`, and for its check.

`members.json` is {"at" (seconds since 1970), "issuer", "members": [{"name", "sub", "username", "state", "uid", "gid",
"display", "email", "groups", "kind", "owner", "expires"}]}; `audit.log` has a line for each change seen (see runtime.audit).
"""

from __future__ import annotations

import json
import time
from collections.abc import Container, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from farmlet.errors import FarmletError
from farmlet.parts.accounts.source.membership import Member
from farmlet.runtime import audit
from farmlet.runtime.files import write

FOLDER = "/var/lib/farmlet/accounts"  # on the node of the accounts daemon

Rows = Mapping[str, Mapping[str, Any]]  # by UNIX name


class Record:
    """The record in `folder` of the members of `issuer`."""

    def __init__(self, folder: Path, issuer: str) -> None:
        self._folder, self._issuer = folder, issuer

    def keep(self, members: Iterable[Member], held: Container[str] = ()) -> None:
        """Tell the log what changed, then remember the members. Who is `held` and missing or removed is remembered as they were.

        Raises FarmletError or OSError.
        """
        before = self._load()
        told = {one.name: describe(one) for one in members if one.name not in held or one.state != "removed"}
        rows = {name: row for name, row in before.items() if name in held} | told
        for event, details in changes(before, rows):
            audit.append(self._folder / "audit.log", event, **details, by=self._issuer)
        found = {"at": time.time(), "issuer": self._issuer, "members": [rows[name] for name in sorted(rows)]}
        write(self._folder / "members.json", json.dumps(found, indent=1).encode(), 0o600)

    def _load(self) -> Rows:
        path = self._folder / "members.json"
        if not path.exists():
            return {}
        try:
            return {row["name"]: row for row in json.loads(path.read_text())["members"]}
        except (ValueError, KeyError, TypeError) as error:
            raise FarmletError(str(path), f"does not hold what was written there: {error!r}", "remove it") from error


def describe(member: Member) -> dict[str, Any]:
    """A member as the command line shows them, as our own identity does, with the issuer's name for them."""
    return {
        "name": member.name,
        "sub": member.sub,
        "username": member.username,
        "state": member.state,
        "uid": member.uid,
        "gid": member.gid,
        "display": member.title,
        "email": member.email,
        "groups": list(member.groups),
        "kind": "service" if member.service else "person",
        # the end and the owner of a membership are the issuer's business
        "owner": None,
        "expires": None,
    }


def changes(before: Rows, after: Rows) -> Iterator[tuple[str, dict[str, Any]]]:
    """What to tell the audit log, as (event, details). A name that is not the issuer's own is told with it."""
    for name, row in after.items():
        old = before.get(name)
        if old is None:
            shown = {key: row[key] for key in ("username", "sub", "uid", "state", "groups")}
            yield "member.added", {"member": name, **shown}
            continue
        if row["state"] != old["state"]:
            yield f"member.{row['state']}", {"member": name}
        if row["groups"] != old["groups"]:
            yield "member.groups", {"member": name, "groups": row["groups"], "before": old["groups"]}
