"""Requests that carry one of our own access tokens (RFC 6750)."""

from __future__ import annotations

from collections.abc import Collection

from django.http import HttpRequest

from farmlet.parts.identity.service.django.models import Member
from farmlet.parts.identity.service.tokens import introspection
from farmlet.runtime.tokens import Claims, Refused


class Denied(Exception):
    """The request's token does not do. `code` and `status` are RFC 6750's."""

    def __init__(self, status: int, code: str, description: str) -> None:
        super().__init__(description)
        self.status, self.code, self.description = status, code, description

    @property
    def challenge(self) -> str:
        """The WWW-Authenticate header."""
        text = self.description.replace("\\", "").replace('"', "'")
        return f'Bearer error="{self.code}", error_description="{text}"' if self.code else "Bearer"


def authenticate_member(request: HttpRequest) -> tuple[Claims, Member]:
    """The claims and the active member of a request for the member's own things, for which any audience does. Raises Denied."""
    claims, member = authenticate(request, None)
    if "openid" not in claims.scopes:
        raise Denied(403, "insufficient_scope", "scope openid is needed")
    if member is None:
        raise Denied(401, "invalid_token", "it is no member's token")
    return claims, member


def authenticate(request: HttpRequest, audience: Collection[str] | None) -> tuple[Claims, Member | None]:
    """The claims of the request's token and its member. `audience` None accepts any. Raises Denied."""
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "bearer" or not token.strip():
        raise Denied(401, "", "no access token")
    try:
        return introspection.verify(token.strip(), audience)
    except Refused as error:
        raise Denied(401, "invalid_token", error.what) from error
