"""From an authorised oauthlib request to signed tokens."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from farmlet.parts.identity.service import tokens
from farmlet.parts.identity.service.models import Member
from farmlet.parts.identity.service.policy import resolve
from farmlet.parts.identity.service.project import provider
from farmlet.parts.identity.service.scopes import GROUPS, order_groups


def find_lifetime(request: Any) -> int:
    """Seconds the request's access token is good for: the facility's, the client's, what an exchanged token has left."""
    usual = provider().configuration.lifetimes.access
    left: int = vars(request).get("left", usual)
    return min(usual, left, request.client.access_lifetime or usual)


def create_access(request: Any) -> str:
    """The access token of a request whose client, scopes, audience and, unless a client asks for itself, user are known."""
    service = provider()
    member = request.user if isinstance(request.user, Member) else None
    rights = resolve(service.table, member) if member else None
    claims = tokens.claim_access(
        service.issuer,
        str(member.sub) if member else request.client.client_id,
        request.client.client_id,
        request.granted_audience,
        request.scopes,
        request.expires_in,
        username=member.name if member else "",
        groups=rights.groups if rights else (),
        optional=rights.optional if rights else (),
        act=vars(request).get("act"),
    )
    request.jti = claims["jti"]
    return tokens.sign(claims, service.keys.signing())


def create_identity(request: Any, access_token: str) -> str:
    """The ID token that goes with `access_token`."""
    service = provider()
    member = request.user
    details = {"auth_time": int(request.authenticated.timestamp()), **describe(member, request.scopes)}
    claims = tokens.claim_identity(
        service.issuer, str(member.sub), request.client.client_id, request.expires_in, access_token, details
    )
    return tokens.sign(claims, service.keys.signing(), "JWT")


def describe(member: Member, scopes: Iterable[str]) -> dict[str, Any]:
    """What the scopes tell about the member (OpenID Connect Core §5.4), for ID tokens and userinfo alike."""
    details: dict[str, Any] = {"preferred_username": member.name}
    if "profile" in scopes:
        details["name"] = member.display or member.name
    if "email" in scopes and member.email:
        details["email"] = member.email
    if any(GROUPS.fullmatch(scope) for scope in scopes):
        rights = resolve(provider().table, member)
        details["wlcg.groups"] = order_groups(scopes, rights.groups, rights.optional)
    return details
