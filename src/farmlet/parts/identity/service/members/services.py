"""Service members: no person, owned by a group, with tokens of their own by client credentials (RFC 6749 §4.4).

Each has one confidential client, `service-NAME`. Its secret is made here and told once; only a hash of it is kept.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from farmlet.errors import InputError
from farmlet.parts.identity.service.clients.hashers import hash_secret
from farmlet.parts.identity.service.django.models import Client, Member
from farmlet.parts.identity.service.django.project import Provider
from farmlet.parts.identity.service.members.contact import check_display
from farmlet.parts.identity.service.members.members import announce, enrol, find, take_turn
from farmlet.parts.identity.service.members.membership import check_service, find_owner
from farmlet.parts.identity.service.tokens.policy import SUPPORTED

USUAL = timedelta(days=365)  # how long a service member is good for when nobody says


def add(
    provider: Provider,
    name: str,
    groups: Sequence[str],
    *,
    owner: str,
    display: str,
    until: datetime | None,
    scopes: Sequence[str],
    audiences: Sequence[str],
    by: str,
) -> tuple[Member, str]:
    """Register a service member and return it with the secret of its client. Raises InputError.

    Without `scopes` it may have whatever its groups give; `until` None is a year from now.
    """
    expires = until or (timezone.now() + USUAL).replace(hour=23, minute=59, second=59, microsecond=0)
    if expires <= timezone.now():
        raise InputError(f"member {name}", f"{expires.date()} is past")
    secret = secrets.token_urlsafe(32)
    with transaction.atomic():
        take_turn()
        group = find_owner(provider, owner)
        fields: dict[str, Any] = {"kind": Member.Kind.SERVICE, "owner": group, "expires": expires, "state": Member.State.ACTIVE}
        member = enrol(provider, name, groups, display=check_display(display), **fields)
        _make_client(member, secret, display or name, scopes or SUPPORTED, audiences)
        announce([member])
    details = {"owner": owner, "expires": expires.isoformat(), "client": name_client(name), "scopes": list(scopes)}
    provider.record("member.added", member=name, kind="service", groups=list(groups), uid=member.number, **details, by=by)
    return member, secret


def renew(provider: Provider, name: str, by: str) -> str:
    """A new secret for a service member; the old one ends within the seconds that `registry` keeps clients. Raises InputError."""
    secret = secrets.token_urlsafe(32)
    check_service(find(name))
    if not Client.objects.filter(client_id=name_client(name)).update(client_secret=hash_secret(secret)):
        raise InputError(f"client {name_client(name)}", "is not there")
    provider.record("client.renewed", member=name, client=name_client(name), by=by)
    return secret


def _make_client(member: Member, secret: str, title: str, scopes: Sequence[str], audiences: Sequence[str]) -> None:
    client_id = name_client(member.name)
    if Client.objects.filter(client_id=client_id).exists():
        raise InputError(f"client {client_id}", "is there already", "name the service member otherwise")
    Client.objects.create(
        client_id=client_id,
        client_secret=hash_secret(secret),
        name=title,
        client_type=Client.CLIENT_CONFIDENTIAL,
        authorization_grant_type=Client.GRANT_CLIENT_CREDENTIALS,
        grants=["client_credentials"],
        scopes=sorted(set(scopes)),
        audiences=sorted(set(audiences)),
        member=member,
    )


def name_client(name: str) -> str:
    """The client of the service member `name`."""
    return f"service-{name}"
