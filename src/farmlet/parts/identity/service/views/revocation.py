"""Tokens taken back before their time (RFC 7009)."""

# mypy: allow-subclassing-any

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.db import transaction
from django.http import HttpResponse

from farmlet.parts.identity.service.models import Client, RevokedToken
from farmlet.parts.identity.service.oauth import connections
from farmlet.parts.identity.service.project import provider
from farmlet.parts.identity.service.views.token import NO_STORE, ClientView, refuse
from farmlet.runtime.tokens import LEEWAY, Refused, check


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
