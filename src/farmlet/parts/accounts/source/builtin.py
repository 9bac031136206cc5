"""Members as our own identity keeps them: SCIM with our extension, which has the numbers, and a feed of changes."""

from __future__ import annotations

import time
import urllib.parse
from collections.abc import Mapping
from typing import Any

from farmlet.errors import FarmletError
from farmlet.parts.accounts.source.membership import (
    STATES,
    Member,
    Membership,
    State,
    Unread,
    check_number,
    check_sub,
    check_text,
    show,
)
from farmlet.parts.accounts.source.scim import Broken, Missing, Reader

EXTENSION = "urn:farmlet:scim:User"
USERS = "/scim/v2/Users"
PAGE = 1000  # 1 MB
FEW = 20  # members who are read one by one
FULL_SECONDS = 300.0
WAIT_SECONDS = 50


class Builtin:
    """A `MembershipSource`. Names and numbers come from identity's ledger; its feed tells of a change within a second.

    Who was told by the feed is read alone; all members at the first time, when many changed, and at least every FULL_SECONDS.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._known: dict[str, Member] = {}
        self._unread: dict[str, Unread] = {}
        self._changed: list[str] | None = None  # since what is known; None: who knows
        self._ended: set[str] | None = None  # who was removed, as the feed told from its beginning
        self._due = 0.0

    def read(self) -> Membership:
        changed, self._changed = self._changed, None  # what fails half way is begun anew
        some = list(dict.fromkeys([*(changed or ()), *self._unread]))
        if changed is None or not some or len(some) > FEW or time.monotonic() >= self._due:
            due = time.monotonic() + FULL_SECONDS
            users = self._reader.users(USERS, PAGE)
            self._known, self._unread = {}, {}
            for user in users:
                self._take(str(user["id"]), user)
            self._due = due
        else:
            for sub in some:
                self._refresh(sub)
        ended = None if self._ended is None else frozenset(self._ended)
        return Membership(tuple(self._known.values()), tuple(self._unread.values()), ended)

    def has(self, sub: str) -> bool:
        return self._reader.has(USERS, sub)

    def wait(self, known: int) -> int:
        """The feed's cursor, as soon as it is another than `known`, or after 50 s."""
        seconds = 0 if known < 0 else WAIT_SECONDS
        self._changed = None
        answer = self._reader.get("/scim/v2/changes", timeout=seconds + 10, cursor=max(known, 0), wait=seconds)
        cursor, changed, removed = int(answer["cursor"]), set(map(str, answer["changed"])), set(map(str, answer["removed"]))
        # a restored database tells of everybody whom it knows, but of nobody whom it does not
        whole = known < 0 or cursor < known
        self._ended = removed if whole or self._ended is None else (self._ended - changed) | removed
        if self._known and known <= cursor:
            self._changed = list(map(str, answer["changed"]))
        return cursor

    def _refresh(self, sub: str) -> None:
        try:
            self._take(sub, self._reader.get(f"{USERS}/{urllib.parse.quote(sub, safe='')}"))
        except Missing:  # was removed
            self._known.pop(sub, None)
            self._unread.pop(sub, None)
        except Broken as error:
            self._leave(sub, getattr(self._known.get(sub), "name", ""), error)

    def _take(self, sub: str, user: Mapping[str, Any]) -> None:
        try:
            self._known[sub] = read(user)
            self._unread.pop(sub, None)
        except FarmletError as error:
            self._leave(sub, show(user.get("userName")), error)

    def _leave(self, sub: str, who: str, error: FarmletError) -> None:
        self._known.pop(sub, None)
        self._unread[sub] = Unread(sub, who, error.what)


def read(user: Mapping[str, Any]) -> Member:
    """A member from a SCIM user with identity's extension. Raises FarmletError for a bad one.

    Who is not `active` though the state says so has come to the end of their time.
    """
    try:
        extension, username = user[EXTENSION], check_text(user["userName"])
        state: State = STATES[STATES.index(extension["state"])]
        emails = [show(email["value"]) for email in user.get("emails") or ()]
        return Member(
            sub=check_sub(user["id"]),
            name=check_text(extension.get("name", username)),
            uid=check_number(extension["uidNumber"]),
            gid=check_number(extension["gidNumber"]),
            title=show(user.get("displayName")) or show(username),
            state="expired" if state == "active" and user.get("active") is False else state,
            groups={check_text(group["path"]): check_number(group["gidNumber"]) for group in extension["groups"]},
            username=show(username),
            service=extension.get("kind") == "service",
            email=emails[0] if emails else "",
        )
    except KeyError as error:
        raise FarmletError(f"member {show(user.get('userName'))}", f"identity's entry lacks {error}") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise FarmletError(f"member {show(user.get('userName'))}", f"identity's entry is odd: {error}") from error
