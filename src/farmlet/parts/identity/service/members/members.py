"""Members and groups: registration, approval, suspension, removal, and the ledger their UNIX names come from.

Every change here is one transaction with its entry in the feed, and is written to the audit log.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.utils import timezone

from farmlet.errors import InputError
from farmlet.facility.names import check_member, unix_group
from farmlet.facility.rights import Table
from farmlet.parts.identity.service.django.models import Change, Client, Connection, Ended, Entry, Group, Invitation, Member
from farmlet.parts.identity.service.django.project import Provider
from farmlet.parts.identity.service.members.contact import check_display, read_email
from farmlet.parts.identity.service.members.ledger import allocate, ensure_entry
from farmlet.parts.identity.service.members.ownership import settle, tell

State = Member.State
TURN = 0x6661726D  # the advisory lock of PostgreSQL; any number that nobody else uses in this database
# what a command may turn a state into: verb → (states it starts from, state it ends in)
MOVES: dict[str, tuple[tuple[str, ...], str]] = {
    "approve": ((State.PENDING,), State.ACTIVE),
    "suspend": ((State.PENDING, State.ACTIVE), State.SUSPENDED),
    "resume": ((State.SUSPENDED, State.REMOVED), State.ACTIVE),
    "remove": ((State.PENDING, State.ACTIVE, State.SUSPENDED), State.REMOVED),
}


def find(name: str) -> Member:
    """The member of that UNIX name. Raises InputError."""
    member = Member.objects.select_related("entry", "owner").prefetch_related("groups").filter(name=name).first()
    if member is None:
        raise InputError(f"member {name}", "no such member", "`farmlet user list` shows them")
    assert isinstance(member, Member)
    return member


def add(
    provider: Provider,
    name: str,
    groups: Sequence[str],
    *,
    display: str,
    email: str,
    state: str,
    by: str,
    expires: datetime | None = None,
    again: bool = False,
) -> tuple[Member, str]:
    """Register a person and return them with the URL of the join page, which is told only here. Raises InputError.

    `again`: who had this name and is in no database any more, see `ledger.allocate`.
    """
    if expires is not None and expires <= timezone.now():
        raise InputError(f"member {name}", f"{expires.date()} is past")
    display, email = check_display(display), read_email(email)
    with transaction.atomic():
        take_turn()
        member = enrol(provider, name, groups, display=display, email=email, state=state, expires=expires, again=again)
        url = invite(provider, member)
        announce([member])
    ends = {"expires": expires.isoformat()} if expires else {}
    provider.record("member.added", member=name, groups=list(groups), state=state, uid=member.number, **ends, by=by)
    return member, url


def enrol(provider: Provider, name: str, groups: Sequence[str], *, again: bool = False, **fields: Any) -> Member:
    """A new entry of the ledger and its member, without a password. Within a transaction. Raises InputError."""
    if fault := check_member(name, provider.table.groups):
        raise InputError(f"member {name}", fault)
    refuse_taken(name)
    entry, sub = allocate(provider.configuration, name, again)
    member = Member(name=name, entry=entry, **({"sub": sub} if sub else {}), **fields)
    member.set_unusable_password()
    member.save()
    member.groups.set([find_group(path) for path in groups])
    return member


def refuse_taken(name: str) -> None:
    """Raise InputError, with what to do about it, for a name that somebody has or had."""
    if (known := Member.objects.filter(name=name).first()) and known.state != State.REMOVED:
        raise InputError(f"member {name}", f"is there already, and is {known.standing}", f"farmlet user show {name}")
    if known and known.kind == Member.Kind.PERSON:
        hint = f"the same person comes back by: farmlet user resume {name}; somebody else needs another name"
        raise InputError(f"member {name}", "was removed, and the name is never given again to anybody else", hint)
    if Entry.objects.filter(name=name).exists():
        raise InputError(f"member {name}", "this UNIX name was given before and is never given again", "take another name")


def invite(provider: Provider, member: Member) -> str:
    """A new join URL for the member; earlier ones no longer work."""
    secret = secrets.token_urlsafe(24)
    Invitation.objects.filter(member=member, used=None).delete()
    expires = timezone.now() + timedelta(seconds=provider.configuration.lifetimes.join)
    Invitation.objects.create(member=member, digest=digest(secret), expires=expires)
    return f"{provider.issuer}/join/{secret}/"


def find_invitation(secret: str) -> Invitation | None:
    """The invitation of a join URL if it can still be used."""
    found = Invitation.objects.select_related("member").filter(
        digest=digest(secret),
        used=None,
        expires__gt=timezone.now(),
        member__state__in=(State.PENDING, State.ACTIVE),
        member__kind=Member.Kind.PERSON,
    )
    first: Invitation | None = found.first()
    return first


def join(provider: Provider, invitation: Invitation, password: str) -> bool:
    """Set the first password by an invitation. Returns False if it was used meanwhile."""
    with transaction.atomic():
        if not Invitation.objects.filter(pk=invitation.pk, used=None).update(used=timezone.now()):
            return False
        member = invitation.member
        member.set_password(password)
        member.save(update_fields=["password", "updated"])
    provider.record("member.joined", member=member.name)
    return True


def move(provider: Provider, name: str, verb: str, by: str) -> Member:
    """Approve, suspend, resume or remove. Safe to repeat. Raises InputError where the state does not allow it.

    Who is suspended or removed loses every connection at once, so no program of theirs comes back by itself. A person who was
    removed may come back, as who they were; a service member's client is gone for good.
    """
    starts, end = MOVES[verb]
    with transaction.atomic():
        take_turn()
        member = find(name)
        if end == State.ACTIVE and member.expires is not None and member.expires <= timezone.now():
            raise InputError(f"member {name}", f"expired on {member.expires.date()}", f"farmlet user extend {name} DATE")
        if member.state == end:
            return member
        if member.kind == Member.Kind.SERVICE:
            starts = tuple(state for state in starts if state != State.REMOVED)
        if member.state not in starts:
            raise InputError(f"member {name}", f"is {member.standing}; only {' or '.join(starts)} members can be {end}")
        member.state = end
        _withdraw(member)
        member.save()
        passed = settle(provider.table)
        if any(each.member == member for each in passed if each.after is None):
            hint = f"add a person to {member.owner.path}, or: farmlet user give {name} --owner GROUP"
            raise InputError(f"member {name}", f"nobody is active in its owner {member.owner.path}", hint)
        announce([member, *(each.member for each in passed)])
    provider.record(f"member.{end}", member=name, by=by)
    tell(provider, passed, by)
    return member


def _withdraw(member: Member) -> None:
    """Take away what a member who is no longer active must not come back with."""
    if not member.is_active:
        held = Connection.objects.filter(member=member)
        kept = held.select_for_update().filter(expires__gt=timezone.now())
        Ended.objects.bulk_create([Ended.of(connection, member.standing) for connection in kept])
        held.delete()
    if member.state == State.REMOVED:
        member.set_unusable_password()
        Invitation.objects.filter(member=member).delete()
        Client.objects.filter(member=member).delete()


def ensure_groups(provider: Provider, by: str) -> list[str]:
    """Make the groups what the rights table says; returns what changed. Members whose rights may change are announced."""
    lines = {line["path"]: line for line in provider.table.to_json()["groups"]}
    changed: list[str] = []
    with transaction.atomic():
        take_turn()
        known = {group.path: group for group in Group.objects.select_related("entry")}
        for path, line in lines.items():
            group = known.get(path)
            if group is None:
                entry = ensure_entry(provider.configuration, unix_group(path))
                Group.objects.create(path=path, entry=entry, rights=line)
            elif group.rights != line or not group.present:
                Group.objects.filter(pk=group.pk).update(rights=line, present=True)
            else:
                continue
            changed.append(path)
        gone = [path for path, group in known.items() if path not in lines and group.present]
        Group.objects.filter(path__in=gone).update(present=False)
        changed += gone
        passed = settle(provider.table)
        announce([*_affected(changed), *(each.member for each in passed)])
    if changed:
        provider.record("groups.changed", groups=changed, gone=gone, by=by)
    tell(provider, passed, by)
    return changed


def announce(members: Iterable[Member]) -> None:
    """Put the members into the feed of changes. Within a transaction."""
    take_turn()
    Change.objects.bulk_create([Change(member=member) for member in members])


def take_turn() -> None:
    """Wait until no other transaction changes members, and keep others waiting until this one ends.

    SQLite writes one transaction at a time anyway. PostgreSQL gives ids of the feed before it shows them: without turns
    a reader could see id 8, then never look back at 7. First in a transaction, so that two never wait for each other.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [TURN])


def describe(member: Member, table: Table) -> dict[str, Any]:
    """A member as the command line shows them."""
    rights = table.of(member.name, member.paths)
    return {
        "name": member.name,
        "sub": str(member.sub),
        "kind": member.kind,
        "owner": member.owner.path if member.owner else None,
        "state": member.standing,
        "expires": member.expires.isoformat() if member.expires else None,
        "uid": member.number,
        "gid": member.number,
        "display": member.display,
        "email": member.email,
        "groups": list(rights.groups),
        "created": member.created.isoformat(),
    }


def digest(secret: str) -> str:
    """How secrets that we hand out are stored: they are random, so a plain SHA-256 is enough."""
    return hashlib.sha256(secret.encode()).hexdigest()


def find_group(path: str) -> Group:
    """The group of that path that the facility has. Raises InputError."""
    group: Group | None = Group.objects.filter(path=path, present=True).first()
    if group is None:
        raise InputError(f"group {path}", "no such group", "groups come from the facility file, with `farmlet up`")
    return group


def _affected(paths: Sequence[str]) -> list[Member]:
    """Members of these groups or of groups below them, which inherit."""
    groups = [
        group.pk
        for group in Group.objects.all()
        if any(group.path == path or group.path.startswith(f"{path}/") for path in paths)
    ]
    return list(Member.objects.filter(groups__in=groups).distinct())
