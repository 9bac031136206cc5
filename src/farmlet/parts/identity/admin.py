"""The identity service's own command on the control node, as verbs for admins call it: as that service's user."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from farmlet.parts import units
from farmlet.parts.admin import Running, call
from farmlet.parts.members import Members

if TYPE_CHECKING:
    from farmlet.facility.model import Facility
    from farmlet.parts.part import ElementAccess

COMMAND = (
    "runuser", "-u", "farmlet-identity", "--",
    f"{units.SERVICE}/bin/python", "-m", "farmlet.parts.identity.service", "--config", "/etc/farmlet/identity.json",
)  # fmt: skip


class OwnMembers(Members):
    """Whom the facility's own identity service keeps."""

    def _call(self, *words: str) -> str:
        typed = f"user {words[1]}" if words[0] == "member" else words[0]  # what a person typed is what they are told of
        return call(self._running, [*COMMAND, *words, "--by", self._by], typed)


def ask_clients(running: Running, words: Sequence[str], by: str) -> Any:
    """What a verb about clients (see `programs`) answers. Raises InputError or FarmletError."""
    return json.loads(call(running, [*COMMAND, "client", *words, "--by", by], f"client {words[0]}"))


def rotate(running: Running, now: bool, by: str) -> list[dict[str, Any]]:
    """New signing keys: calmly, or `now`, so that what the old ones signed is refused. The keys there are then."""
    words = ["keys", "rotate", "--now" if now else "--next", "--by", by, "--json"]
    found: list[dict[str, Any]] = json.loads(call(running, [*COMMAND, *words], "rotate issuer"))
    return found


def find_left(facility: Facility, elements: Iterable[ElementAccess] = ()) -> list[str]:
    """Who is out of reach of `rotate` at once, and for how long they go on with the old keys. `elements`: those of others."""
    left = [
        f"site {name}: its storage keeps the issuer's keys up to 10 minutes; until then it takes tokens of the old key and may "
        "refuse new ones. While the issuer does not answer it keeps them for days: tell its administrators"
        for name in facility.sites
    ]
    left += [
        f"storage element {one.name}: it keeps the issuer's keys up to {_tell_time(one.keeps_keys)}; until then it takes tokens "
        f"of the old key and refuses new ones, unless its administrator {one.afresh}: tell them"
        for one in elements
    ]
    if facility.has("access.authority"):
        left.append("SSH certificates: those given for tokens of the old key live on, 12 hours or what the file says")
    return [*left, "members: access tokens at hand are refused; programs get new ones by themselves, refresh tokens stay good"]


def _tell_time(seconds: int) -> str:
    return f"{seconds // 3600} hours" if seconds > 3600 else f"{seconds // 60} minutes"
