"""The ledger of UNIX names and numbers: members and groups share it, and nothing in it is ever given to anybody else.

The nodes remember as well (`runtime.seen`): a database may be restored from before the last entries, or be empty.
"""

from __future__ import annotations

import uuid

from farmlet.errors import FarmletError, InputError
from farmlet.parts.identity.service.django.configuration import Configuration
from farmlet.parts.identity.service.django.models import Entry, Group
from farmlet.runtime.seen import Seen


def allocate(configuration: Configuration, name: str, again: bool = False) -> tuple[Entry, uuid.UUID | None]:
    """The next free number for a member of a name that was never given. Within a transaction. Raises InputError.

    `again`: the member had this name on the nodes, and the database has forgotten them; they get their own number, and their
    `sub`, which is returned.
    """
    seen = Seen.load(configuration.seen)
    if name in seen.groups:
        raise InputError(f"member {name}", "this UNIX name is or was a group's")
    bearer = seen.members.get(name)
    if not again and bearer is None:
        return _give(name, Entry.Kind.MEMBER, seen.first("member", configuration.uid_base)), None
    if bearer is None:
        raise InputError(f"member {name}", "nobody of this name is missing here", "leave --again out for somebody new")
    if not again:
        hint = f"the same person: farmlet user add {name} --again …; somebody else needs another name"
        raise InputError(f"member {name}", f"the nodes know somebody by this name, with the number {bearer.uid}", hint)
    try:
        sub = uuid.UUID(bearer.sub)
    except ValueError as error:
        raise InputError(f"member {name}", "was kept by another issuer", "they need another name") from error
    if Entry.objects.filter(number=bearer.uid).exists():
        raise InputError(f"member {name}", f"somebody else has the number {bearer.uid} by now", "they need another name")
    entry: Entry = Entry.objects.create(name=name, number=bearer.uid, kind=Entry.Kind.MEMBER)
    return entry, sub


def ensure_entry(configuration: Configuration, name: str) -> Entry:
    """The entry of a group: its old one if it comes back. Within a transaction. Raises FarmletError."""
    entry: Entry | None = Entry.objects.filter(name=name).first()
    if entry is None:
        return _restore(configuration, name)
    if entry.kind != Entry.Kind.GROUP or Group.objects.filter(entry=entry).exists():
        raise FarmletError(f"group {name}", f"this UNIX name is or was a {entry.kind}'s", "name the group otherwise")
    return entry


def _restore(configuration: Configuration, name: str) -> Entry:
    """A new entry of a group, with the number that its files have on the nodes if they know it."""
    seen = Seen.load(configuration.seen)
    if name in seen.members:
        raise FarmletError(f"group {name}", "this UNIX name is or was a member's", "name the group otherwise")
    if (number := seen.groups.get(name)) and not Entry.objects.filter(number=number).exists():
        entry: Entry = Entry.objects.create(name=name, number=number, kind=Entry.Kind.GROUP)
        return entry
    return _give(name, Entry.Kind.GROUP, seen.first("group", configuration.gid_base))


def _give(name: str, kind: str, first: int) -> Entry:
    """The next number of that kind, from `first` up."""
    last = Entry.objects.filter(kind=kind).order_by("-number").values_list("number", flat=True).first()
    number = first if last is None else max(first, last + 1)
    while Entry.objects.filter(number=number).exists():
        number += 1
    entry: Entry = Entry.objects.create(name=name, number=number, kind=kind)
    return entry
