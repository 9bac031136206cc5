"""Refresh tokens: rotated at every use, and the whole connection ends when one that was used comes back.

Sources: RFC 6749 §6, RFC 9700 §4.14. A token is `ID.SECRET`, so that a used one still tells which connection it was of,
and there is one row for a connection and none for the tokens it had.
"""

from __future__ import annotations

import secrets
import uuid
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone
from oauthlib.oauth2.rfc6749.errors import InvalidGrantError

from farmlet.parts.identity.service.django.databases import deferred
from farmlet.parts.identity.service.django.models import Client, Connection, Ended
from farmlet.parts.identity.service.django.project import provider
from farmlet.parts.identity.service.members.members import digest
from farmlet.parts.identity.service.tokens import lookup

GRACE = timedelta(seconds=30)  # a client that lost the answer to a refresh may repeat it so long
SIBLINGS = 8  # tokens that answers to repeated refreshes may leave working at once


class Over(InvalidGrantError):  # type: ignore[misc]  # oauthlib has no types
    """A refresh token that will not work again; `reason` is for who held it, "" for all others.

    It is a field of its own (RFC 6749 §8.2: with a vendor's prefix), not `error_description`: with one, oidc-agent takes the
    token for expired and waits for its user to sign in again.
    """

    def __init__(self, reason: str, request: Any) -> None:
        super().__init__(request=request)
        self.reason = reason

    @property
    def twotuples(self) -> list[tuple[str, Any]]:
        return [*super().twotuples, *([("farmlet_reason", self.reason)] if self.reason else [])]


def create_token(request: Any) -> str:
    """A refresh token for the request's connection, which is made or rotated when the answer is saved."""
    connection: Connection | None = request.connection
    request.connection_id = connection.id if connection else uuid.uuid4()
    return f"{request.connection_id}.{secrets.token_urlsafe(32)}"


def locate(token: str, client: Client | None = None) -> Connection | None:
    """The connection a refresh token (of `client`) belongs to, whether the token still works or not."""
    key = _read_key(token)
    connection = lookup.find_connection(key) if key else None
    return connection if connection and (client is None or connection.client_id == client.pk) else None


def _read_key(token: str) -> uuid.UUID | None:
    name, dot, _ = token.partition(".")
    try:
        return uuid.UUID(name) if dot else None
    except ValueError:
        return None


def find(token: str, client: Client) -> Connection | None:
    """The connection that `client` may refresh with `token`. A token that was used before ends its connection."""
    connection = locate(token, client)
    if connection is None or connection.expires <= timezone.now():
        return None
    if digest(token) in connection.current or _forgivable(connection, token):
        return connection
    end(connection, "refresh.reused")
    return None


def explain(token: str, client: Client) -> str:
    """Why a token that worked for `client` does so no more, if its membership is the reason; "" for everybody else."""
    key = _read_key(token)
    ended = Ended.objects.filter(pk=key, client=client, expires__gt=timezone.now()).first() if key else None
    return f"the membership was {ended.why}" if ended and digest(token) in ended.tokens else ""


def begin(request: Any, token: str) -> Connection:
    """Store the connection that `token` starts."""
    connection: Connection = Connection.objects.create(
        id=request.connection_id,
        member=request.user,
        client=request.client,
        scope=" ".join(request.scopes),
        audience=" ".join(request.allowed_audience),
        current=[digest(token)],
        authenticated=request.authenticated,
        act=request.act or {},
        expires=_expire(request.client),
    )
    return connection


def rotate(request: Any, token: str) -> None:
    """Replace the token the request came with by `token`. Raises InvalidGrantError.

    Of several that were given for repeated refreshes, the first one that is used ends the others.
    """
    used, now = digest(request.refresh_token), timezone.now()
    values = {"previous": used, "rotated": now, "current": [digest(token)], "expires": _expire(request.client)}
    # as a rule it is the only token that works, and one statement will do
    with deferred():
        done = Connection.objects.filter(pk=request.connection.pk, current=[used]).update(**values)
    if not done:
        with transaction.atomic():
            _settle(request, token)


def _settle(request: Any, token: str) -> None:
    """Rotate where there are several tokens, or somebody else was faster."""
    connection = Connection.objects.select_for_update().filter(pk=request.connection.pk).first()
    used, fresh = digest(request.refresh_token), digest(token)
    if connection is not None and used in connection.current:
        connection.previous, connection.rotated, connection.current = used, timezone.now(), [fresh]
    elif connection is not None and _forgivable(connection, request.refresh_token):
        connection.current = [*connection.current, fresh]
    else:
        raise InvalidGrantError(request=request)
    connection.expires = _expire(request.client)
    connection.save(update_fields=["previous", "rotated", "current", "expires"])


def end(connection: Connection, event: str, **details: Any) -> None:
    """Forget a connection, so that no token of it works any more."""
    with transaction.atomic():
        if Connection.objects.filter(pk=connection.pk).delete()[0]:
            client = connection.client.client_id
            provider().record(event, **{"member": connection.member.name, "client": client, "by": client} | details)


def _expire(client: Client) -> Any:
    usual = provider().configuration.lifetimes.refresh
    return timezone.now() + timedelta(seconds=min(usual, client.refresh_lifetime or usual))


def _forgivable(connection: Connection, token: str) -> bool:
    """Whether `token` was replaced just now and none of its successors was used: the answer to its refresh may be lost.

    Without this a client that repeats a refresh would log itself out.
    """
    if connection.rotated is None or timezone.now() - connection.rotated >= GRACE:
        return False
    return digest(token) == connection.previous and len(connection.current) < SIBLINGS
