"""Who is in a group: the one way in which a membership of a group begins or ends."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import transaction
from django.utils import timezone

from farmlet.parts.identity.service.members import announce, take_turn
from farmlet.parts.identity.service.models import Group, Member
from farmlet.parts.identity.service.project import Provider


def enrol(provider: Provider, group: Group, joining: Sequence[Member], leaving: Sequence[Member], by: str) -> None:
    """Put members into the group and take others out: one transaction, a line of the audit log each, told in the feed."""
    if not joining and not leaving:
        return
    with transaction.atomic():
        take_turn()
        group.members.add(*joining)
        group.members.remove(*leaving)
        changed = [*joining, *leaving]
        Member.objects.filter(pk__in=[member.pk for member in changed]).update(updated=timezone.now())
        announce(changed)
        for event, members in (("group.joined", joining), ("group.left", leaving)):
            for member in members:
                provider.record(event, member=member.name, group=group.path, by=by)
