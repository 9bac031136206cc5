"""Deleting what has ended, so that the database holds what lives and no more, however long the service runs."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.contrib.sessions.models import Session
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from farmlet.parts.identity.service.clients import registration
from farmlet.parts.identity.service.django.models import (
    Attempt,
    Change,
    Connection,
    DeviceGrant,
    Ended,
    Grant,
    Invitation,
    RevokedToken,
)
from farmlet.parts.identity.service.django.project import Provider
from farmlet.parts.identity.service.login import password
from farmlet.parts.identity.service.oauth.codes import REMEMBERED

BATCH = 500  # rows of one transaction: requests wait no longer than that takes
LEEWAY = timedelta(minutes=1)  # a token is taken a little beyond its end, so it stays revoked a little longer


def prune(provider: Provider, now: datetime | None = None) -> dict[str, int]:
    """Delete what has ended by `now`; how many rows of each kind. Safe at any time, beside a running service."""
    moment = now or timezone.now()
    found = {name: _delete(query) for name, query in _find_ended(moment).items()}
    found["clients"] = registration.prune(provider, moment)
    return found


def _find_ended(now: datetime) -> dict[str, QuerySet[Any]]:
    # a reader of the feed is told of a member once, however often they changed: the newest change says it all
    newer = Change.objects.filter(member=OuterRef("member"), id__gt=OuterRef("id"))
    return {
        "connections": Connection.objects.filter(expires__lte=now),
        "ended connections": Ended.objects.filter(expires__lte=now),
        "device grants": DeviceGrant.objects.filter(expires__lte=now - REMEMBERED),
        "codes": Grant.objects.filter(expires__lte=now - REMEMBERED),
        "revoked tokens": RevokedToken.objects.filter(expires__lte=now - LEEWAY),
        "attempts": Attempt.objects.filter(last__lte=now - password.FORGET),
        "invitations": Invitation.objects.filter(Q(expires__lte=now) | Q(used__isnull=False)),
        "sessions": Session.objects.filter(expire_date__lte=now),
        "changes": Change.objects.filter(Exists(newer)),
    }


def _delete(query: QuerySet[Any]) -> int:
    """Delete what `query` finds, in batches."""
    total = 0
    while True:
        with transaction.atomic():
            keys = list(query.values_list("pk", flat=True)[:BATCH])
            count: int = query.filter(pk__in=keys).delete()[1].get(query.model._meta.label, 0)
        total += count
        if count == 0:  # nothing left, or somebody else took the last ones
            return total
