"""Programs that register themselves (RFC 7591) and change or end their registration (RFC 7592).

Nobody of the facility has looked at them, so they act only for people who allow it; how many may come is limited, for
each address and in all, and those that are not used are forgotten.
"""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.hashers import check_password
from django.db import transaction
from django.db.models import Q
from django.utils.crypto import constant_time_compare

from farmlet.facility.scopes import intersect
from farmlet.parts.identity.service.clients.applicant import METHODS, Metadata, Rejected
from farmlet.parts.identity.service.clients.hashers import hash_secret
from farmlet.parts.identity.service.django.models import Client, DeviceGrant
from farmlet.parts.identity.service.django.project import Provider, provider
from farmlet.parts.identity.service.login.rate_limit import bucket, take
from farmlet.parts.identity.service.members.members import digest
from farmlet.parts.identity.service.oauth.grants import CODE
from farmlet.parts.identity.service.tokens.audiences import opens_login
from farmlet.parts.identity.service.tokens.policy import SUPPORTED

ACCOUNT, CHANGES = "registration", "registration changes"  # under which `Attempt` counts
HOURLY, TOTAL = 20, 200  # an hour: registrations of one address, and changes of one client; registrations of all together
TRIAL, IDLE = timedelta(days=1), timedelta(days=90)  # until a client that never got a token goes; one that got none since


def register(provider: Provider, asked: Metadata, address: str) -> tuple[Client, str, str]:
    """A new client, its secret ("" for a public one) and its registration token; both are told only here.

    Raises Rejected, with status 429 where too many came.
    """
    token, client = secrets.token_urlsafe(32), Client(client_id=secrets.token_hex(16), registration_source="dcr")
    client.registration = digest(token)
    with transaction.atomic():
        _count(address)
        secret = _fill(client, asked)
        client.save()
    provider.record("client.registered", client=client.client_id, name=client.name, grants=client.grants, address=address)
    return client, secret, token


def change(provider: Provider, client: Client, asked: Metadata, secret: str | None) -> str:
    """Make a client what its program now asks; returns its new secret, "" where it has none or keeps its own.

    `secret`: the one the program says it has, which must be right (RFC 7592 §2.2). Raises Rejected.
    """
    if secret is not None and (client.public or not check_password(secret, client.client_secret)):
        raise Rejected("invalid_client_metadata", "client_secret is not this client's")
    with transaction.atomic():
        if not take(CHANGES, client.client_id, HOURLY):
            raise Rejected("temporarily_unavailable", "too many changes; please try again later", 429)
    fresh = _fill(client, asked)
    client.save()
    provider.record("client.changed", client=client.client_id, name=client.name, grants=client.grants)
    return fresh


def end(provider: Provider, client: Client, by: str = "") -> None:
    """Forget a client with all its connections, as an administrator (`by`) wishes if not by itself."""
    with transaction.atomic():
        DeviceGrant.objects.filter(client_id=client.client_id).delete()
        Client.objects.filter(pk=client.pk).delete()
    provider.record("client.ended", client=client.client_id, name=client.name, **({"by": by} if by else {}))


def find(client_id: str, token: str) -> Client | None:
    """The client that registered itself under that id, if the registration token is its own."""
    client: Client | None = Client.objects.filter(client_id=client_id).exclude(registration="").first()
    return client if client is not None and constant_time_compare(client.registration, digest(token)) else None


def describe(client: Client) -> dict[str, Any]:
    """The registered metadata (RFC 7591 §3.2.1), without what is told only once."""
    shown: dict[str, Any] = {
        "client_id": client.client_id,
        "client_id_issued_at": int(client.created.timestamp()),
        "client_name": client.name,
        "grant_types": client.grants,
        "response_types": ["code"] if CODE in client.grants else [],
        "redirect_uris": client.redirect_uris.split(),
        "token_endpoint_auth_method": METHODS[2] if client.public else METHODS[0],
        "scope": " ".join(client.scopes),
    }
    if client.audiences:
        shown["audience"] = client.audiences
    if client.post_logout_redirect_uris:
        shown["post_logout_redirect_uris"] = client.post_logout_redirect_uris.split()
    if client.algorithm:
        shown["id_token_signed_response_alg"] = client.algorithm
    return shown


def prune(provider: Provider, now: datetime) -> int:
    """End registrations that never got a token for a day, or none for 90 days; how many."""
    unused = Q(used=None, created__lte=now - TRIAL) | Q(used__lte=now - IDLE)
    ended = [client for client in Client.objects.exclude(registration="").filter(unused)]
    for client in ended:
        end(provider, client)
    return len(ended)


def _fill(client: Client, asked: Metadata) -> str:
    """Set the client's fields; returns its new secret if it needs one and has none."""
    scopes = SUPPORTED if asked.scope is None else intersect(asked.scope.split(), SUPPORTED)
    if not scopes:
        raise Rejected("invalid_client_metadata", "none of these scopes can be had here")
    if opens_login(asked.audiences) and not provider().configuration.registered_logins:
        raise Rejected("invalid_client_metadata", "an audience opens a log-in, which only an administrator registers here")
    public = asked.method == "none"
    secret = "" if public or (client.pk and not client.public) else secrets.token_urlsafe(32)
    client.name, client.grants, client.scopes = asked.name, list(asked.grants), sorted(scopes)
    client.client_type = Client.CLIENT_PUBLIC if public else Client.CLIENT_CONFIDENTIAL
    client.authorization_grant_type = Client.GRANT_AUTHORIZATION_CODE if CODE in asked.grants else Client.GRANT_DEVICE_CODE
    client.redirect_uris, client.post_logout_redirect_uris = " ".join(asked.redirects), " ".join(asked.logouts)
    client.algorithm, client.audiences = asked.algorithm or client.algorithm, sorted(asked.audiences)
    if secret or public:
        client.client_secret = hash_secret(secret or None)
    return secret


def _count(address: str) -> None:
    """Count a registration of `address`. Within a transaction. Raises Rejected where there were too many.

    The facility's own clients never register, so no count can keep them out.
    """
    if not (take(ACCOUNT, bucket(address), HOURLY) and take(ACCOUNT, "", TOTAL)):
        raise Rejected("temporarily_unavailable", "too many programs have registered; please try again later", 429)
