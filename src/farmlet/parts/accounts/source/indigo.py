"""Members as an INDIGO IAM keeps them: SCIM at its own paths, no filter, no feed, no UNIX names.

Source: indigo-iam/iam, packages `api.scim` (users, pages of at most 100) and `core.oauth.profile` (tokens).
"""

from __future__ import annotations

import contextlib
import time
import urllib.parse
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from farmlet.errors import FarmletError
from farmlet.facility.names import ancestors
from farmlet.parts.accounts.source.ledger import Entry, Ledger
from farmlet.parts.accounts.source.logins import Logins
from farmlet.parts.accounts.source.membership import Member, Membership, State, Unread, check_sub, check_text, show
from farmlet.parts.accounts.source.scim import Reader

EXTENSION = "urn:indigo-dc:scim:schemas:IndigoUser"
USERS = "/scim/Users"
PAGE = 100  # it gives no more at a time
POLL_SECONDS = 60.0
LOOK_SECONDS = 0.5  # between two looks at who logged in


class Indigo:
    """A `MembershipSource`. A member is who is, or once was, in a group that the facility file names.

    Who has just logged in, by `logins`, is asked for alone: where something is new of them, all is told at once, as it was read
    last, with that. `groups`: the paths that the file names; `prefix`: the IAM's group they are below ("" for none). Who left all
    of them or is not active is suspended, whose `endTime` has passed is expired; who is gone from the IAM is removed. Names and
    numbers are ours, by `ledger`.
    """

    def __init__(
        self,
        reader: Reader,
        ledger: Ledger,
        groups: Sequence[str],
        prefix: str = "",
        seconds: float = POLL_SECONDS,
        logins: Logins | None = None,
    ) -> None:
        self._reader, self._ledger, self._groups = reader, ledger, tuple(groups)
        self._prefix, self._seconds, self._logins = prefix, seconds, logins
        self._users: dict[str, dict[str, Any]] = {}  # as read last
        self._due, self._news = 0.0, False  # when all are read again; whether something is new of one of them before that

    def read(self) -> Membership:
        if not self._news or not self._users:
            self._users = {}  # what fails half way is begun anew
            due = time.monotonic() + self._seconds
            self._users = {str(user["id"]): user for user in self._reader.users(USERS, PAGE)}
            self._due = due
        self._news = False
        users = self._users.values()
        known = self._ledger.members()
        gids = self._ledger.ensure_groups(self._groups)
        found: dict[str, Member] = {}
        unread: dict[str, Unread] = {}
        for user in sorted(users, key=_age):  # who came first is named first
            sub = str(user["id"])
            try:
                if member := self._take(user, known, gids):
                    found[sub] = member
            # members write much of their own entry there
            except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
                what = f"the entry at {self._reader.issuer} cannot be read: {error!r}"
                unread[sub] = Unread(sub, show(user.get("userName")), what)
        gone = [_gone(entry) for sub, entry in known.items() if sub not in found and sub not in unread]
        return Membership((*found.values(), *gone), tuple(unread.values()))

    def _take(self, user: Mapping[str, Any], known: Mapping[str, Entry], gids: Mapping[str, int]) -> Member | None:
        """The member that a user is; None for one who is none. Raises FarmletError for the ledger, all else for the entry."""
        sub, paths = check_sub(user["id"]), self._paths(user)
        if sub not in known and not paths:
            return None
        entry = known.get(sub) or self._ledger.ensure_member(sub, check_text(user.get("userName") or ""), self._groups)
        return self._member(user, entry, {path: gids[path] for path in paths})

    def has(self, sub: str) -> bool:
        return self._reader.has(USERS, sub)

    def wait(self, known: int) -> int:
        """Another mark, after the time between two looks, or as soon as something is new of who logs in."""
        due = self._due if self._users else time.monotonic() + self._seconds
        while known >= 0 and not self._news and (rest := due - time.monotonic()) > 0:
            time.sleep(min(rest, LOOK_SECONDS))
            self._news = self._look()
        return known + 1

    def _look(self) -> bool:
        """Whether something is new of one of those who logged in. What cannot be told now is told by the list of all."""
        names = self._logins.take() if self._logins and self._users else ()
        subs = {entry.name: sub for sub, entry in self._ledger.members().items()} if names else {}
        news = False
        for sub in {subs[name] for name in names if name in subs} & self._users.keys():
            with contextlib.suppress(FarmletError, AttributeError, TypeError):
                user = self._reader.get(f"{USERS}/{urllib.parse.quote(sub, safe='')}")
                if str(user.get("id")) == sub and not same(user, self._users[sub]):
                    self._users[sub], news = user, True
        return news

    def _paths(self, user: Mapping[str, Any]) -> list[str]:
        """The facility's groups of a user, with those above them, in the order of the file."""
        return find_paths(user, self._groups, self._prefix)

    def _member(self, user: Mapping[str, Any], entry: Entry, groups: Mapping[str, int]) -> Member:
        username, names = show(user.get("userName")), user.get("name") or {}
        title = " ".join(filter(None, (show(names.get(key)) for key in ("givenName", "familyName"))))
        emails = [show(email["value"]) for email in user.get("emails") or ()]
        return Member(
            sub=entry.bearer,
            name=entry.name,
            uid=entry.number,
            gid=entry.number,
            title=title or username or entry.name,
            state=judge(user, groups),
            groups=groups,
            username=username,
            email=emails[0] if emails else "",
            service=(user.get(EXTENSION) or {}).get("serviceAccount") is True,
        )


def find_paths(user: Mapping[str, Any], groups: Sequence[str], prefix: str) -> list[str]:
    """Of the facility's `groups` those of a user, with those above them, in the same order. Raises what an odd entry raises."""
    below = f"{prefix}/" if prefix else ""
    named = {check_text(group["display"]).strip("/") for group in user.get("groups") or ()}
    counted = {name.removeprefix(below) for name in named if name.startswith(below)} & set(groups)
    closed = counted.union(*map(ancestors, counted))
    return [path for path in groups if path in closed]


def judge(user: Mapping[str, Any], paths: Collection[str]) -> State:
    """What a user of these groups of the facility is here. Raises ValueError or AttributeError for an odd entry."""
    if has_ended((user.get(EXTENSION) or {}).get("endTime")):
        return "expired"
    return "active" if user.get("active") is True and paths else "suspended"


def same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two answers mean the same here: a list says less of certificates than what is said of one alone."""
    names, mine = ("userName", "active", "name", "emails"), (one.get(EXTENSION) or {}, other.get(EXTENSION) or {})
    groups = [sorted(str(group.get("display")) for group in user.get("groups") or ()) for user in (one, other)]
    ends = [str(extension.get("endTime")) for extension in mine]
    return groups[0] == groups[1] and ends[0] == ends[1] and all(one.get(name) == other.get(name) for name in names)


def _age(user: Mapping[str, Any]) -> tuple[str, str]:
    meta = user.get("meta")
    return (str(meta.get("created", "")) if isinstance(meta, Mapping) else "", str(user["id"]))


def _gone(entry: Entry) -> Member:
    return Member(entry.bearer, entry.name, entry.number, entry.number, entry.name, "removed", {})


def has_ended(value: object) -> bool:
    """Whether an `endTime` (text of ISO 8601, or milliseconds since 1970) has passed. None is no end. Raises ValueError."""
    if value is None:
        return False
    if isinstance(value, int | float) and not isinstance(value, bool):
        end = datetime.fromtimestamp(value / 1000, UTC)
    else:
        end = datetime.fromisoformat(str(value))
    return (end if end.tzinfo else end.replace(tzinfo=UTC)) <= datetime.now(UTC)
