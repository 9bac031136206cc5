"""Members as our own identity keeps them: SCIM with our extension, which has the numbers, and a feed of changes."""

from __future__ import annotations

import time
import urllib.parse
from collections.abc import Mapping
from typing import Any

from farmlet.errors import FarmletError
from farmlet.parts.accounts.membership import Member
from farmlet.parts.accounts.scim import Missing, Reader

EXTENSION = "urn:farmlet:scim:User"
USERS = "/scim/v2/Users"
PAGE = 1000  # 1 MB
FEW = 20  # members who are read one by one
FULL_SECONDS = 300.0
WAIT_SECONDS = 50


class Builtin:
    """A `MembershipSource`. Names and numbers come from identity's ledger; its feed tells of a change within a second.

    Who was told by the feed is read alone; all members at the first time, when many changed, and at least every `seconds`.
    """

    def __init__(self, reader: Reader, seconds: float = FULL_SECONDS) -> None:
        self._reader, self._seconds = reader, seconds
        self._known: dict[str, Member] = {}
        self._changed: list[str] | None = None  # since what is known; None: who knows
        self._due = 0.0

    def members(self) -> tuple[Member, ...]:
        changed, self._changed = self._changed, None  # what fails half way is begun anew
        if not changed or len(changed) > FEW or time.monotonic() >= self._due:
            due = time.monotonic() + self._seconds
            self._known = {member.sub: member for member in map(read, self._reader.users(USERS, PAGE))}
            self._due = due
        else:
            for sub in changed:
                self._refresh(sub)
        return tuple(self._known.values())

    def wait(self, known: int) -> int:
        """The feed's cursor, as soon as it is another than `known`, or after 50 s."""
        seconds = 0 if known < 0 else WAIT_SECONDS
        self._changed = None
        answer = self._reader.get("/scim/v2/changes", timeout=seconds + 10, cursor=max(known, 0), wait=seconds)
        # a restored database tells of everybody whom it knows, but of nobody whom it does not
        if self._known and known <= int(answer["cursor"]):
            self._changed = list(map(str, answer["changed"]))
        return int(answer["cursor"])

    def _refresh(self, sub: str) -> None:
        try:
            self._known[sub] = read(self._reader.get(f"{USERS}/{urllib.parse.quote(sub, safe='')}"))
        except Missing:  # was removed
            self._known.pop(sub, None)


def read(user: Mapping[str, Any]) -> Member:
    """A member from a SCIM user with identity's extension. Raises FarmletError for a bad one.

    Who is not `active` though the state says so has come to the end of their time.
    """
    try:
        extension = user[EXTENSION]
        state = extension["state"]
        return Member(
            sub=str(user["id"]),
            name=extension.get("name", user["userName"]),
            uid=int(extension["uidNumber"]),
            gid=int(extension["gidNumber"]),
            title=str(user.get("displayName") or user["userName"]),
            state="expired" if state == "active" and user.get("active") is False else state,
            groups={group["path"]: int(group["gidNumber"]) for group in extension["groups"]},
            username=user["userName"],
            service=extension.get("kind") == "service",
            email=next((str(email["value"]) for email in user.get("emails", ())), ""),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FarmletError(f"member {user.get('userName', '?')}", f"identity's entry lacks {error}") from error
