"""What clients ask about tokens: whether one holds (introspection, RFC 7662), and to take one back (revocation, RFC 7009)."""

# mypy: allow-subclassing-any

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from django.db import transaction
from django.http import HttpResponse, JsonResponse
from django.utils import timezone

from farmlet.parts.identity.service.django.models import Client, RevokedToken
from farmlet.parts.identity.service.django.project import provider
from farmlet.parts.identity.service.members.members import digest
from farmlet.parts.identity.service.oauth import connections
from farmlet.parts.identity.service.oauth.token import NO_STORE, ClientView, refuse
from farmlet.parts.identity.service.tokens import introspection
from farmlet.runtime.tokens import LEEWAY, Refused, check


class IntrospectionView(ClientView):
    """For confidential clients: whoever could ask without proof could try tokens out."""

    def answer(self, asked: Any) -> HttpResponse:
        if asked.client.public:
            return refuse("invalid_client", "only a client that has a secret may ask", 401)
        if not asked.token:
            return refuse("invalid_request", "token is missing")
        found = describe_refresh(asked.token, asked.client) or describe_access(asked.token)
        return JsonResponse({"active": bool(found), **found}, headers=NO_STORE)


def describe_access(token: str) -> dict[str, Any]:
    """The claims of an access token that holds (RFC 9068, `wlcg.…`), else nothing."""
    try:
        claims, member = introspection.verify(token)
    except Refused:
        return {}
    if claims.expires <= time.time():  # no leeway: this clock is the one it was issued by
        return {}
    return {**claims.raw, "token_type": "Bearer", **({"username": member.name} if member else {})}


def describe_refresh(token: str, client: Client) -> dict[str, Any]:
    """What a refresh token of `client` itself stands for if it works, else nothing."""
    connection = connections.locate(token, client)
    if connection is None or connection.expires <= timezone.now() or digest(token) not in connection.current:
        return {}
    if not connection.member.is_active:
        return {}
    audience = connection.audience.split()
    return {
        "iss": provider().issuer,
        "sub": str(connection.member.sub),
        "username": connection.member.name,
        "client_id": client.client_id,
        "scope": connection.scope,
        "aud": audience[0] if len(audience) == 1 else audience,
        "iat": int((connection.rotated or connection.created).timestamp()),
        "exp": int(connection.expires.timestamp()),
    }


class RevocationView(ClientView):
    """A refresh token ends its connection, an access token is no longer taken by this service (see `revoke`)."""

    def answer(self, asked: Any) -> HttpResponse:
        if not asked.token:
            return refuse("invalid_request", "token is missing")
        if not revoke(asked.token, asked.client):
            return refuse("invalid_grant", "this token is another client's")
        return HttpResponse(headers=NO_STORE)


def revoke(token: str, client: Client) -> bool:
    """Take `token` back; False if it is another client's. One that is unknown or has ended is as good as revoked.

    Storage verifies access tokens by their signature alone and takes a revoked one until it ends by itself.
    """
    if connection := connections.locate(token):
        if connection.client != client:
            return False
        connections.end(connection, "connection.revoked")
        return True
    service = provider()
    try:
        claims = check(token, service.keys.verifying(), service.issuer, None)
    except Refused:
        return True
    if claims.client_id != client.client_id:
        return False
    with transaction.atomic():
        expires = datetime.fromtimestamp(claims.expires + LEEWAY, UTC)
        if RevokedToken.objects.get_or_create(jti=claims.jti, defaults={"expires": expires})[1]:
            service.record("token.revoked", member=claims.username, client=client.client_id, jti=claims.jti)
    return True
