"""How often an address may do what costs us something: a count that leaks away evenly."""

from __future__ import annotations

import ipaddress
from datetime import timedelta

from django.db.models import F
from django.utils import timezone

from farmlet.parts.identity.service.django.models import Attempt

HOUR = 3600


def take(account: str, address: str, most: int) -> bool:
    """Count one `account` of `address`; False if it had `most` within the hour. Within a transaction.

    At any time an address has as many left as it could have had since.
    """
    now = timezone.now()
    row, _ = Attempt.objects.select_for_update().get_or_create(account=account, address=address, defaults={"last": now})
    leaked = int((now - row.last).total_seconds() * most / HOUR)
    level = max(0, row.failures - leaked)
    if level >= most:
        return False
    # what has leaked in part stays counted: the clock goes on from the last whole one
    last = now if level == 0 else row.last + timedelta(seconds=leaked * HOUR / most)
    Attempt.objects.filter(pk=row.pk).update(failures=level + 1, last=last)
    return True


def give_back(account: str, address: str) -> None:
    """One less: what was counted turned out well."""
    Attempt.objects.filter(account=account, address=address, failures__gt=0).update(failures=F("failures") - 1)


def bucket(address: str) -> str:
    """What counts as one address: who has one of IPv6 has 2^64 of them."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ipaddress.ip_network((found, 64), strict=False)) if found.version == 6 else address
