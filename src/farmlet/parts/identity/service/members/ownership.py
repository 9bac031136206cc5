"""Keeps every active service member owned by a group in which a person is active (the rule itself: `succession`)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import Q
from django.utils import timezone

from farmlet.facility.rights import Table
from farmlet.parts.identity.service.django.models import Group, Member
from farmlet.parts.identity.service.django.project import Provider
from farmlet.parts.identity.service.members.succession import find_staffed, succeed


@dataclass(frozen=True)
class Passed:
    """A service member that went from the group `before` to `after`; `after` None: nobody is left, it was suspended."""

    member: Member
    before: str
    after: str | None


def load_staffed(table: Table) -> frozenset[str]:
    """The groups in which a person is active now."""
    persons = Member.objects.filter(
        Q(expires=None) | Q(expires__gt=timezone.now()),
        kind=Member.Kind.PERSON,
        state=Member.State.ACTIVE,
        groups__present=True,
    )
    return find_staffed(table, persons.order_by().values_list("groups__path", flat=True).distinct())


def settle(table: Table) -> list[Passed]:
    """Pass on what has lost its owners; returns what changed. Within the transaction of the change that caused it."""
    services = list(Member.objects.filter(kind=Member.Kind.SERVICE, state=Member.State.ACTIVE).select_related("owner"))
    staffed = load_staffed(table) if services else frozenset()
    passed = []
    for member in services:
        # one without an owner is nothing we make; should it be there, it must not keep a person from being sent away
        before = member.owner.path if member.owner else ""
        after = succeed(before, staffed, table)
        if after == before:
            continue
        if after is None:
            member.state = Member.State.SUSPENDED
        else:
            member.owner = Group.objects.get(path=after)
        member.save(update_fields=["owner", "state", "updated"])
        passed.append(Passed(member, before, after))
    return passed


def tell(provider: Provider, passed: Iterable[Passed], by: str) -> None:
    """Write to the audit log what `settle` did."""
    for each in passed:
        if each.after is None:
            reason = f"nobody is active in {each.before or 'an owner'}, above it, or among the administrators"
            provider.record("member.suspended", member=each.member.name, reason=reason, by=by)
        else:
            provider.record("owner.changed", member=each.member.name, before=each.before, after=each.after, by=by)


def find_services(table: Table, member: Member) -> list[Member]:
    """The service members that a person owns together with others: those of their groups. Nobody's if they are not active."""
    if member.kind != Member.Kind.PERSON or not member.is_active:
        return []
    groups = table.of(member.name, member.paths).groups
    owned = Member.objects.filter(kind=Member.Kind.SERVICE, owner__path__in=groups).exclude(state=Member.State.REMOVED)
    return list(owned.select_related("owner").order_by("name"))
