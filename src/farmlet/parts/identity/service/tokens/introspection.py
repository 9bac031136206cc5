"""Whether one of our own access tokens still holds: signature and times, not taken back, its member active."""

from __future__ import annotations

from collections.abc import Collection

from farmlet.parts.identity.service.django.models import Member, RevokedToken
from farmlet.parts.identity.service.django.project import provider
from farmlet.runtime.tokens import Claims, Refused, check


def verify(token: str, audience: Collection[str] | None = None) -> tuple[Claims, Member | None]:
    """The token's claims and its member, None for a program's own token. `audience` None accepts any. Raises Refused."""
    service = provider()
    claims = check(token, service.keys.verifying(), service.issuer, audience)
    if RevokedToken.objects.filter(jti=claims.jti).exists():
        raise Refused("it was revoked")
    if not claims.username:
        return claims, None
    member: Member | None = Member.objects.filter(name=claims.username).prefetch_related("groups").first()
    if member is None or str(member.sub) != claims.sub or not member.is_active:
        raise Refused("its member is not active")
    return claims, member
