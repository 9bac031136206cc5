"""Clients by name, kept in memory for some seconds: every token asks for one, and they hardly ever change.

What this process changes it knows at once; what the command on the node changes reaches it within `FRESH`.
"""

# mypy: allow-untyped-decorators

from __future__ import annotations

import copy
import time
from typing import Any

from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver

from farmlet.parts.identity.service.django.models import Client

FRESH = 5.0  # seconds

_known: dict[str, tuple[float, Client]] = {}


def find(name: str) -> Client | None:
    """The client of that name. Each caller gets an instance of its own, so that nothing is read into the kept one."""
    now = time.monotonic()
    until, client = _known.get(name, (0.0, None))
    if client is None or until < now:
        # PostgreSQL takes no NUL in a text
        client = None if "\0" in name else Client.objects.filter(client_id=name).first()
        if client is None:  # names that nobody has are not kept: they could fill the memory
            _known.pop(name, None)
            return None
        _known[name] = (now + FRESH, client)
    return copy.copy(client)


def forget(client: Client) -> None:
    """Ask the database again."""
    _known.pop(client.client_id, None)


@receiver((post_save, post_delete), sender=Client)
def _notice(instance: Client, **_: Any) -> None:
    forget(instance)
