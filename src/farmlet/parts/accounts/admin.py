"""Members as the accounts daemon knows them: whom an external issuer keeps, changed nowhere but there; and who is missing."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from typing import Any

from farmlet.errors import FarmletError, InputError
from farmlet.parts.accounts.source.record import FOLDER
from farmlet.parts.admin import Running, call
from farmlet.parts.members import Members
from farmlet.parts.units import SERVICE

OLD_SECONDS = 180


def release(running: Running, names: Sequence[str]) -> list[str]:
    """Let members go who are missing where they are kept; without names all of them. Raises FarmletError."""
    command = [f"{SERVICE}/bin/python", "-m", "farmlet.parts.accounts.deprovision.missing", *(names or ["--all"])]
    found: list[str] = json.loads(call(running, command, "user release"))
    return found


class ExternalMembers(Members):
    """`list`, `show` and `history` as with our own identity; every other verb is refused in words (InputError)."""

    def _call(self, *words: str) -> str:
        match words:
            case ("member", "list", *_):
                return json.dumps(self._rows())
            case ("member", "show", str(name), *_):
                return json.dumps(self._find(name))
            case ("member", "history", str(name), *_):
                return json.dumps(self._history(str(self._find(name)["name"])))
            case _:
                verb = f"user {words[1]}" if words[0] == "member" else words[0]
                issuer = self._running.facility.issuer
                hint = f"do it there: {issuer} (a change is known here within 60 s)"
                raise InputError(f"farmlet {verb}", f"members are kept by {issuer}, and cannot be changed from here", hint)

    def _rows(self) -> list[dict[str, Any]]:
        found = json.loads(self._read("members.json") or '{"members": [], "at": 0}')
        age = time.time() - found["at"]
        if age > OLD_SECONDS:
            since = f"for {age:.0f} s" if found["at"] else "yet"
            print(f"{self._running.facility.issuer} was not read {since}; hint: farmlet check accounts", file=sys.stderr)
        rows: list[dict[str, Any]] = found["members"]
        return rows

    def _find(self, name: str) -> dict[str, Any]:
        for row in self._rows():
            if row["name"] == name:
                return row
        hint = "`farmlet user list` shows them; who is in none of the facility's groups is no member"
        raise InputError(f"member {name}", "no such member", hint)

    def _history(self, name: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self._read("audit.log").splitlines()]
        hidden = ("previous", "hash", "member")
        return [{key: value for key, value in line.items() if key not in hidden} for line in lines if line.get("member") == name]

    def _read(self, name: str) -> str:
        """A file of the daemon's; "" while there is none."""
        command = ["sh", "-c", f"test ! -e {FOLDER}/{name} || cat {FOLDER}/{name}"]
        try:
            return self._running.run(self._running.facility.controller, command)
        except FarmletError as error:
            raise FarmletError(f"{FOLDER}/{name}", error.what, "farmlet status") from error
