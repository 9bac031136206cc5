"""The seam to whoever keeps the members. Two implementations: our own identity (`builtin`), an INDIGO IAM (`indigo`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

State = Literal["pending", "active", "suspended", "expired", "removed"]


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


class MembershipSource(Protocol):
    """Who is a member, and when to look again."""

    def members(self) -> tuple[Member, ...]:
        """Everybody, also who is suspended, and removed members as far as they are known. Raises FarmletError, and then
        nothing may be concluded about anybody: what was known last goes on."""
        ...

    def wait(self, known: int) -> int:
        """A mark of what is there, as soon as it may be another than `known`; at once for -1. Raises FarmletError."""
        ...
