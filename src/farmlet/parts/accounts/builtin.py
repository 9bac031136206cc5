"""Members as our own identity keeps them: SCIM with our extension, which has the numbers, and a feed of changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from farmlet.errors import FarmletError
from farmlet.parts.accounts.membership import Member
from farmlet.parts.accounts.scim import Reader

EXTENSION = "urn:farmlet:scim:User"
PAGE = 100
WAIT_SECONDS = 50


class Builtin:
    """A `MembershipSource`. Names and numbers come from identity's ledger; its feed tells of a change within a second."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def members(self) -> tuple[Member, ...]:
        return tuple(map(read, self._reader.users("/scim/v2/Users", PAGE)))

    def wait(self, known: int) -> int:
        """The feed's cursor, as soon as it is another than `known`, or after 50 s."""
        seconds = 0 if known < 0 else WAIT_SECONDS
        answer = self._reader.get("/scim/v2/changes", timeout=seconds + 10, cursor=max(known, 0), wait=seconds)
        return int(answer["cursor"])


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
