"""The seam to whoever keeps the members. Two implementations: our own identity (`builtin`), an INDIGO IAM (`indigo`)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, get_args

State = Literal["pending", "active", "suspended", "expired", "removed"]
STATES: tuple[State, ...] = get_args(State)
SUB = re.compile(r"[!-~]{1,255}")  # OpenID Connect Core §2; it stands in the directory
HIGHEST = 2**31 - 1  # of the numbers that every file system and program takes
LONGEST = 200  # characters of what is shown


@dataclass(frozen=True)
class Member:
    """One member, whoever keeps them. `name`, `uid` and `gid` are theirs for ever and never anybody else's.

    `groups`: path in the facility file → gid, the groups above included. `username` is what the source calls them.
    `service`: no person; has an account and owns files, but never logs in.
    """

    sub: str
    name: str
    uid: int
    gid: int
    title: str
    state: State
    groups: Mapping[str, int] = field(hash=False)
    username: str = ""
    email: str = ""
    service: bool = False


@dataclass(frozen=True)
class Unread:
    """Somebody whose entry at the source cannot be read, and why; `who` is what people call them, as far as that is known."""

    sub: str
    who: str
    what: str


@dataclass(frozen=True)
class Membership:
    """What a source says. About those who are `unread` nothing may be concluded: what was known of them last goes on.

    `ended`: the `sub`s of those whom the source itself calls removed; None where it cannot, and whoever is missing may be. A
    member of whom no end was told may have been lost with the source's database (see `deprovision.missing`).
    """

    members: tuple[Member, ...]
    unread: tuple[Unread, ...] = ()
    ended: frozenset[str] | None = None


class MembershipSource(Protocol):
    """Who is a member, and when to look again."""

    def read(self) -> Membership:
        """Everybody, also who is suspended, and removed members as far as they are known. Raises FarmletError, and then
        nothing may be concluded about anybody."""
        ...

    def has(self, sub: str) -> bool:
        """Whether it knows somebody by this `sub`, asked for alone: a list may have lost them on the way. Raises FarmletError."""
        ...

    def wait(self, known: int) -> int:
        """A mark of what is there, as soon as it may be another than `known`; at once for -1. Raises FarmletError."""
        ...


# What sources say is some member's word in many places. All that fails these is a ValueError or a TypeError of that one entry.


def check_sub(value: Any) -> str:
    """Who somebody is, for ever."""
    if not isinstance(value, str) or not SUB.fullmatch(value):
        raise ValueError(f"{value!r:.80} is no subject")
    return value


def check_number(value: Any) -> int:
    """A number of UNIX."""
    if type(value) is not int or not 0 <= value <= HIGHEST:
        raise ValueError(f"{value!r:.80} is no number of UNIX")
    return value


def check_text(value: Any) -> str:
    """A text that decides something, as it is."""
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.80} is no text")
    return value


def show(value: Any) -> str:
    """A text that is only shown: on one line, and no longer than people write. "" for what is none."""
    words = "".join(letter if letter.isprintable() else " " for letter in value) if isinstance(value, str) else ""
    return " ".join(words.split())[:LONGEST]
