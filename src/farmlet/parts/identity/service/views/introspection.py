"""Whether a token holds, asked by a service that does not verify it by itself (RFC 7662)."""

# mypy: allow-subclassing-any

from __future__ import annotations

import time
from typing import Any

from django.http import HttpResponse, JsonResponse
from django.utils import timezone

from farmlet.parts.identity.service import live
from farmlet.parts.identity.service.members import digest
from farmlet.parts.identity.service.models import Client
from farmlet.parts.identity.service.oauth import connections
from farmlet.parts.identity.service.project import provider
from farmlet.parts.identity.service.views.token import NO_STORE, ClientView, refuse
from farmlet.runtime.tokens import Refused


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
        claims, member = live.verify(token)
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
