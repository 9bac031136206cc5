"""What changes in a membership besides its state: its groups, its end, its owner."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from farmlet.errors import InputError
from farmlet.parts.identity.service.django.models import Group, Member
from farmlet.parts.identity.service.django.project import Provider
from farmlet.parts.identity.service.members.members import announce, find, find_group, take_turn
from farmlet.parts.identity.service.members.ownership import load_staffed, settle, tell


def join_group(provider: Provider, name: str, path: str, by: str) -> Member:
    """Put a member into a group. Safe to repeat. Raises InputError."""
    return _regroup(provider, name, find_group(path), True, by)


def leave_group(provider: Provider, name: str, path: str, by: str) -> Member:
    """Take a member out of a group. Safe to repeat. Raises InputError where a group below it still makes them one of it."""
    if below := [held for held in find(name).paths if held.startswith(f"{path}/")]:
        raise InputError(f"member {name}", f"is in {path} by {', '.join(below)}", f"farmlet user leave {name} --group {below[0]}")
    group = Group.objects.filter(path=path).first()  # also one that the facility no longer has: it may come back
    return _regroup(provider, name, group or find_group(path), False, by)


def _regroup(provider: Provider, name: str, group: Group, wanted: bool, by: str) -> Member:
    with transaction.atomic():
        take_turn()
        member = find(name)
        _refuse_removed(member)
        if (group in member.groups.all()) != wanted:
            regroup(provider, group, [member] if wanted else [], [] if wanted else [member], by)
    return find(name)


def regroup(provider: Provider, group: Group, joining: Sequence[Member], leaving: Sequence[Member], by: str) -> None:
    """Put members into a group who are not in it, and take others out who are: the one way in which groups change."""
    changed = [*joining, *leaving]
    with transaction.atomic():
        take_turn()
        group.members.add(*joining)
        group.members.remove(*leaving)
        Member.objects.filter(pk__in=[member.pk for member in changed]).update(updated=timezone.now())
        passed = settle(provider.table)
        announce([*changed, *(each.member for each in passed)])
    for event, members in (("group.joined", joining), ("group.left", leaving)):
        for member in members:
            provider.record(event, member=member.name, group=group.path, by=by)
    tell(provider, passed, by)


def give(provider: Provider, name: str, path: str, by: str) -> Member:
    """Make another group the owner of a service member. Safe to repeat. Raises InputError."""
    with transaction.atomic():
        take_turn()
        member = find(name)
        check_service(member)
        owner, before = find_owner(provider, path), member.owner.path
        if owner == member.owner:
            return member
        member.owner = owner
        member.save(update_fields=["owner", "updated"])
        announce([member])
    provider.record("owner.changed", member=name, before=before, after=path, by=by)
    return member


def extend(provider: Provider, name: str, until: datetime | None, by: str) -> Member:
    """Set the end of a membership; None for one without end, which only persons have. Raises InputError."""
    if until is not None and until <= timezone.now():
        raise InputError(f"member {name}", f"{until.date()} is past", f"farmlet user suspend {name} ends it now")
    with transaction.atomic():
        take_turn()
        member = find(name)
        _refuse_removed(member)
        if until is None and member.kind == Member.Kind.SERVICE:
            raise InputError(f"member {name}", "a service member needs an end", "give a date such as 2030-12-31")
        before, member.expires = member.expires, until
        member.save(update_fields=["expires", "updated"])
        passed = settle(provider.table)
        announce([member, *(each.member for each in passed)])
    ends = {"before": before and before.isoformat(), "expires": until and until.isoformat()}
    provider.record("member.extended", member=name, **ends, by=by)
    tell(provider, passed, by)
    return member


def expire(provider: Provider, by: str) -> list[str]:
    """Announce the members whose end has come since this last ran, and pass on what they owned; returns their names.

    Tokens do not wait for this: an expired member gets none from the very second. Safe to run as often as one likes.
    """
    now = timezone.now()
    with transaction.atomic():
        take_turn()
        # a member who was written after the end is one that this has dealt with
        ended = Member.objects.filter(state=Member.State.ACTIVE, expires__lte=now, updated__lt=F("expires"))
        due = list(ended.order_by("name"))
        for member in due:
            member.save(update_fields=["updated"])
        passed = settle(provider.table)
        announce([*due, *(each.member for each in passed)])
    for member in due:
        provider.record("member.expired", member=member.name, expires=member.expires.isoformat(), by=by)
    tell(provider, passed, by)
    return [member.name for member in due]


def check_service(member: Member) -> None:
    """Raises InputError for a person, and for a service member that was removed."""
    if member.kind != Member.Kind.SERVICE:
        raise InputError(f"member {member.name}", "is a person, not a service member")
    _refuse_removed(member)


def _refuse_removed(member: Member) -> None:
    if member.state == Member.State.REMOVED:
        back = "take a new name" if member.kind == Member.Kind.SERVICE else f"farmlet user resume {member.name} lets them back in"
        raise InputError(f"member {member.name}", "is removed", back)


def find_owner(provider: Provider, path: str) -> Group:
    """The group, which must be able to own: of the facility file, with a person active in it or below. Raises InputError."""
    group = find_group(path)
    if path not in provider.table.groups:
        raise InputError(f"group {path}", "is not in the facility file, so it cannot own a service member")
    if path not in load_staffed(provider.table):
        hint = "an owner can be asked: add a person to it, or name another group"
        raise InputError(f"group {path}", "nobody is active in it", hint)
    return group


def read_end(text: str) -> datetime:
    """The last second of a day `YYYY-MM-DD`, UTC. Raises InputError."""
    try:
        return datetime.combine(date.fromisoformat(text), time(23, 59, 59), UTC)
    except ValueError as error:
        raise InputError("date", f"{text!r} is not a date", "write it like 2030-12-31") from error
