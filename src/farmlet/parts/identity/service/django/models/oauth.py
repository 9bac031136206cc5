"""Clients, connections, grants. All models of django-oauth-toolkit are ours from the first migration on.

Swapping only some of them, or later, makes the two apps' migrations depend on each other in a circle.
"""

# mypy: allow-subclassing-any

from __future__ import annotations

import uuid

from django.db import models
from oauth2_provider.models import (
    AbstractAccessToken,
    AbstractApplication,
    AbstractDeviceGrant,
    AbstractGrant,
    AbstractIDToken,
    AbstractRefreshToken,
)

from farmlet.parts.identity.service.django.models.members import Member


class Client(AbstractApplication):
    """A program that may ask for tokens, and what it may ask for.

    `scopes`: the widest it may ask (a storage scope covers the paths below it); `audiences`: whom its tokens may be
    for, empty for whomever the member allows, but for log-ins; lifetimes in seconds, None for the facility's. `member`: the
    service member it acts as by its own credentials, None for a program that acts as itself. `registration`: SHA-256 of the
    token by which a client that registered itself (RFC 7591) changes its entry; `used`: when it last got a token, None for
    never.
    """

    grants = models.JSONField(default=list, blank=True)
    scopes = models.JSONField(default=list, blank=True)
    audiences = models.JSONField(default=list, blank=True)
    access_lifetime = models.PositiveIntegerField(null=True, blank=True)
    refresh_lifetime = models.PositiveIntegerField(null=True, blank=True)
    member = models.ForeignKey(Member, null=True, blank=True, on_delete=models.CASCADE, related_name="clients")
    registration = models.CharField(max_length=64, blank=True, default="")
    used = models.DateTimeField(null=True, blank=True)

    class Meta(AbstractApplication.Meta):
        swappable = "OAUTH2_PROVIDER_APPLICATION_MODEL"

    @property
    def public(self) -> bool:
        """Whether it runs where it cannot keep a secret."""
        return bool(self.client_type == self.CLIENT_PUBLIC)


class Connection(models.Model):
    """A program that may come back in a member's name: one row, however often its refresh token is rotated.

    A refresh token is `ID.SECRET`. `current`: SHA-256 of the tokens that work now, more than one only while it is open
    which answer to a repeated refresh arrived; `previous`: of the token they replaced, at `rotated`. `scope` and
    `audience` are those of the consent, not those of the last access token: a client that once asked for less can ask for
    all again. `authenticated`: when the member gave proof of who they are. `act`: by token exchange, who acts (RFC 8693 §4.1).
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    member = models.ForeignKey(Member, on_delete=models.CASCADE, related_name="connections")
    client = models.ForeignKey(Client, on_delete=models.CASCADE, related_name="connections")
    scope = models.TextField()
    audience = models.TextField(blank=True)
    current = models.JSONField(default=list)
    previous = models.CharField(max_length=64, blank=True)
    authenticated = models.DateTimeField()
    act = models.JSONField(default=dict)
    created = models.DateTimeField(auto_now_add=True)
    rotated = models.DateTimeField(null=True)
    expires = models.DateTimeField(db_index=True)


class Ended(models.Model):
    """What is left of a connection that ended with its membership, for as long as it would have worked: a program that comes back
    is told why. `id` is the connection's, `tokens` are SHA-256 of those that worked last, `why` the member's standing then.
    """

    id = models.UUIDField(primary_key=True, editable=False)
    client = models.ForeignKey(Client, on_delete=models.CASCADE, related_name="+")
    tokens = models.JSONField(default=list)
    why = models.CharField(max_length=10)
    expires = models.DateTimeField(db_index=True)

    @classmethod
    def of(cls, connection: Connection, why: str) -> Ended:
        tokens = [*connection.current, connection.previous]
        return cls(id=connection.id, client_id=connection.client_id, tokens=tokens, why=why, expires=connection.expires)


class RevokedToken(models.Model):
    """An access token that was taken back before its time; kept until it would have expired."""

    jti = models.CharField(max_length=64, primary_key=True)
    expires = models.DateTimeField(db_index=True)


class Grant(AbstractGrant):
    """An authorization code. `code` is its SHA-256; `connection` is what it was redeemed for, `used` when.

    A code that comes back ends that connection (RFC 6749 §4.1.2).
    """

    audience = models.TextField(blank=True)
    authenticated = models.DateTimeField()
    used = models.DateTimeField(null=True)
    connection = models.ForeignKey(Connection, null=True, on_delete=models.SET_NULL)

    class Meta(AbstractGrant.Meta):
        swappable = "OAUTH2_PROVIDER_GRANT_MODEL"


class DeviceGrant(AbstractDeviceGrant):
    """A device authorization. `device_code` holds the code's SHA-256, `user_code` is without its dash.

    `polled` is the last poll (None before the first), `interval` the seconds that must lie between two.
    """

    REDEEMED = "redeemed"

    user_code = models.CharField(max_length=16, unique=True)
    status = models.CharField(max_length=64, default=AbstractDeviceGrant.AUTHORIZATION_PENDING)
    audience = models.TextField(blank=True)
    polled = models.DateTimeField(null=True)
    authenticated = models.DateTimeField(null=True)

    class Meta(AbstractDeviceGrant.Meta):
        swappable = "OAUTH2_PROVIDER_DEVICE_GRANT_MODEL"


class AccessToken(AbstractAccessToken):
    """Never written: access tokens are JWTs that nobody looks up."""

    class Meta(AbstractAccessToken.Meta):
        swappable = "OAUTH2_PROVIDER_ACCESS_TOKEN_MODEL"


class RefreshToken(AbstractRefreshToken):
    """Never written: `Connection` takes its place."""

    class Meta(AbstractRefreshToken.Meta):
        swappable = "OAUTH2_PROVIDER_REFRESH_TOKEN_MODEL"


class IDToken(AbstractIDToken):
    """Never written: ID tokens are JWTs that nobody looks up."""

    class Meta(AbstractIDToken.Meta):
        swappable = "OAUTH2_PROVIDER_ID_TOKEN_MODEL"
