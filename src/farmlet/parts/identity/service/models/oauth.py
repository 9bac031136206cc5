"""Clients, device grants and refresh tokens. All models of django-oauth-toolkit are ours from the first migration on.

Swapping only some of them, or later, makes the two apps' migrations depend on each other in a circle.
"""

# mypy: allow-subclassing-any

from __future__ import annotations

from django.db import models
from oauth2_provider.models import (
    AbstractAccessToken,
    AbstractApplication,
    AbstractDeviceGrant,
    AbstractGrant,
    AbstractIDToken,
    AbstractRefreshToken,
)


class Client(AbstractApplication):
    """A program that may ask for tokens, and what it may ask for.

    `scopes`: the widest it may ask (a storage scope covers the paths below it); `audiences`: whom its tokens may be
    for, empty for anybody; lifetimes in seconds, None for the facility's.
    """

    grants = models.JSONField(default=list, blank=True)
    scopes = models.JSONField(default=list, blank=True)
    audiences = models.JSONField(default=list, blank=True)
    access_lifetime = models.PositiveIntegerField(null=True, blank=True)
    refresh_lifetime = models.PositiveIntegerField(null=True, blank=True)

    class Meta(AbstractApplication.Meta):
        swappable = "OAUTH2_PROVIDER_APPLICATION_MODEL"

    @property
    def public(self) -> bool:
        """Whether it runs where it cannot keep a secret."""
        return bool(self.client_type == self.CLIENT_PUBLIC)


class AccessToken(AbstractAccessToken):
    """Never written: access tokens are JWTs that nobody looks up."""

    class Meta(AbstractAccessToken.Meta):
        swappable = "OAUTH2_PROVIDER_ACCESS_TOKEN_MODEL"


class IDToken(AbstractIDToken):
    """Never written: ID tokens are JWTs that nobody looks up."""

    class Meta(AbstractIDToken.Meta):
        swappable = "OAUTH2_PROVIDER_ID_TOKEN_MODEL"


class Grant(AbstractGrant):
    """An authorization code. No client has that grant yet."""

    class Meta(AbstractGrant.Meta):
        swappable = "OAUTH2_PROVIDER_GRANT_MODEL"


class RefreshToken(AbstractRefreshToken):
    """A refresh token, known by its SHA-256 only.

    `scope` and `audience` are the family's, not those of the last access token: a client that once asked for less can
    ask for all again. `parent` is the token that was rotated into this one.
    """

    scope = models.TextField(blank=True)
    audience = models.TextField(blank=True)
    expires = models.DateTimeField()
    parent = models.ForeignKey("self", null=True, on_delete=models.SET_NULL, related_name="children")

    class Meta(AbstractRefreshToken.Meta):
        swappable = "OAUTH2_PROVIDER_REFRESH_TOKEN_MODEL"


class DeviceGrant(AbstractDeviceGrant):
    """A device authorization. `device_code` holds the code's SHA-256, `user_code` is without its dash.

    `polled` is the last poll (None before the first), `interval` the seconds that must lie between two.
    """

    REDEEMED = "redeemed"

    user_code = models.CharField(max_length=16, unique=True)
    status = models.CharField(max_length=64, default=AbstractDeviceGrant.AUTHORIZATION_PENDING)
    audience = models.TextField(blank=True)
    polled = models.DateTimeField(null=True)

    class Meta(AbstractDeviceGrant.Meta):
        swappable = "OAUTH2_PROVIDER_DEVICE_GRANT_MODEL"
