"""Members as an INDIGO IAM keeps them: SCIM at its own paths, no filter, no feed, no UNIX names.

Source: indigo-iam/iam, packages `api.scim` (users, pages of at most 100) and `core.oauth.profile` (tokens).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from farmlet.errors import FarmletError
from farmlet.facility.names import ancestors
from farmlet.parts.accounts.ledger import Entry, Ledger
from farmlet.parts.accounts.membership import Member
from farmlet.parts.accounts.scim import Reader

EXTENSION = "urn:indigo-dc:scim:schemas:IndigoUser"
PAGE = 100  # it gives no more at a time
POLL_SECONDS = 60.0


class Indigo:
    """A `MembershipSource`. A member is who is, or once was, in a group that the facility file names.

    `groups`: those paths; `prefix`: the IAM's group they are below ("" for none). Who left all of them or is not active is
    suspended, whose `endTime` has passed is expired; who is gone from the IAM is removed. Names and numbers are ours, by
    `ledger`.
    """

    def __init__(
        self, reader: Reader, ledger: Ledger, groups: Sequence[str], prefix: str = "", seconds: float = POLL_SECONDS
    ) -> None:
        self._reader, self._ledger, self._groups = reader, ledger, tuple(groups)
        self._prefix, self._seconds = prefix, seconds

    def members(self) -> tuple[Member, ...]:
        users = self._reader.users("/scim/Users", PAGE)
        known = self._ledger.members()
        if known and not users:
            raise FarmletError(self._reader.issuer, f"knows nobody any more, though there were {len(known)} members")
        gids = self._ledger.ensure_groups(self._groups)
        found: dict[str, Member] = {}
        for user in sorted(users, key=_age):  # who came first is named first
            sub, paths = str(user["id"]), self._paths(user)
            if sub in known or paths:
                entry = known.get(sub) or self._ledger.ensure_member(sub, str(user.get("userName") or ""), self._groups)
                found[sub] = self._member(user, entry, {path: gids[path] for path in paths})
        gone = [_gone(entry) for sub, entry in known.items() if sub not in found]
        return (*found.values(), *gone)

    def wait(self, known: int) -> int:
        """Another mark, after the time between two looks."""
        if known >= 0:
            time.sleep(self._seconds)
        return known + 1

    def _paths(self, user: Mapping[str, Any]) -> list[str]:
        """The facility's groups of a user, with those above them, in the order of the file."""
        below = f"{self._prefix}/" if self._prefix else ""
        try:
            named = {str(group["display"]).strip("/") for group in user.get("groups") or ()}
        except (KeyError, TypeError, AttributeError) as error:
            raise FarmletError(f"{self._reader.issuer} user {user['id']}", f"groups without {error}") from error
        counted = {name.removeprefix(below) for name in named if name.startswith(below)} & set(self._groups)
        closed = counted.union(*map(ancestors, counted))
        return [path for path in self._groups if path in closed]

    def _member(self, user: Mapping[str, Any], entry: Entry, groups: Mapping[str, int]) -> Member:
        username = str(user.get("userName") or "")
        try:
            extension = user.get(EXTENSION) or {}
            ended = has_ended(extension.get("endTime"))
            title = " ".join(str(user["name"][key]) for key in ("givenName", "familyName") if user["name"].get(key))
            emails = [str(email["value"]) for email in user.get("emails") or ()]
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise FarmletError(f"{self._reader.issuer} user {username}", f"cannot be read: {error!r}") from error
        return Member(
            sub=entry.bearer,
            name=entry.name,
            uid=entry.number,
            gid=entry.number,
            title=title or username or entry.name,
            state="expired" if ended else "active" if user.get("active") is True and groups else "suspended",
            groups=groups,
            username=username,
            email=emails[0] if emails else "",
            service=extension.get("serviceAccount") is True,
        )


def _age(user: Mapping[str, Any]) -> tuple[str, str]:
    meta = user.get("meta")
    return (str(meta.get("created", "")) if isinstance(meta, Mapping) else "", str(user["id"]))


def _gone(entry: Entry) -> Member:
    return Member(entry.bearer, entry.name, entry.number, entry.number, entry.name, "removed", {})


def has_ended(value: object, now: datetime | None = None) -> bool:
    """Whether an `endTime` (text of ISO 8601, or milliseconds since 1970) has passed. None is no end. Raises ValueError."""
    if value is None:
        return False
    if isinstance(value, int | float) and not isinstance(value, bool):
        end = datetime.fromtimestamp(value / 1000, UTC)
    else:
        end = datetime.fromisoformat(str(value))
    return (end if end.tzinfo else end.replace(tzinfo=UTC)) <= (now or datetime.now(UTC))
