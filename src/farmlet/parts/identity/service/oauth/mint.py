"""From an authorised oauthlib request to signed tokens."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.utils import timezone

from farmlet.facility.scopes import GROUPS, order_groups
from farmlet.parts.identity.service.django.models import Member
from farmlet.parts.identity.service.django.project import provider
from farmlet.parts.identity.service.oauth import codes
from farmlet.parts.identity.service.tokens import tokens
from farmlet.parts.identity.service.tokens.policy import resolve, resolve_once
from farmlet.runtime.tokens import Refused, unseal


def find_lifetime(request: Any) -> int:
    """Seconds the request's access token is good for: what facility, client, membership and exchanged token leave."""
    usual = provider().configuration.lifetimes.access
    limits: list[int | None] = [usual, request.client.access_lifetime, request.left]
    if isinstance(request.user, Member) and request.user.expires:
        limits.append(max(1, int((request.user.expires - timezone.now()).total_seconds())))
    return min(limit for limit in limits if limit)


def create_access(request: Any) -> str:
    """The access token of a request whose client, scopes, audience and, unless a client asks for itself, user are known."""
    service = provider()
    member = request.user if isinstance(request.user, Member) else None
    rights = resolve_once(service.table, member) if member else None
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
        act=request.act,
    )
    if request.grant:
        claims["jti"] = codes.name_token(request.grant)
    request.jti = claims["jti"]
    return tokens.sign(claims, service.keys.signing())


def create_identity(request: Any, access_token: str) -> str:
    """The ID token that goes with `access_token`."""
    service = provider()
    member = request.user
    details = {"auth_time": int(request.authenticated.timestamp()), **describe(member, request.scopes)}
    if request.grant and request.grant.nonce:
        details["nonce"] = request.grant.nonce
    claims = tokens.claim_identity(
        service.issuer, str(member.sub), request.client.client_id, request.expires_in, access_token, details
    )
    # what every relying party must know is RS256 (OpenID Connect Core §15.1)
    return tokens.sign(claims, service.keys.signing(request.client.algorithm or "RS256"), "JWT")


def read_identity(token: str) -> tuple[str, str] | None:
    """Subject and client of an ID token of ours, which may have expired (OpenID Connect RP-Initiated Logout §4), else None."""
    service = provider()
    try:
        decoded = unseal(token, service.keys.verifying())
    except Refused:
        return None
    claims = decoded.claims
    subject, client = claims.get("sub"), claims.get("aud")
    if claims.get("iss") != service.issuer or decoded.header.get("typ") != "JWT":
        return None
    return (subject, client) if isinstance(subject, str) and isinstance(client, str) else None


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
