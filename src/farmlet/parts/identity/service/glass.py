"""Break-glass: a token in a member's name, minted by an administrator on the node, never without a trace."""

from __future__ import annotations

from collections.abc import Sequence

from farmlet.errors import InputError
from farmlet.parts.identity.service import tokens
from farmlet.parts.identity.service.members import find
from farmlet.parts.identity.service.policy import allow, resolve, resolve_audience
from farmlet.parts.identity.service.project import Provider

CLIENT = "break-glass"


def break_glass(provider: Provider, name: str, scopes: Sequence[str], audience: str, *, reason: str, by: str) -> str:
    """An access token of the member `name`, with `act` naming `by` (RFC 8693 §4.1). Raises InputError.

    It never carries more than the member may have, and no refresh token comes with it. It is written to the audit log
    first: without the log there is no token.
    """
    if not reason.strip() or not by.strip():
        raise InputError("token", "the reason or who asks is empty", "both go into the audit log")
    member = find(name)
    if not member.is_active:
        raise InputError(f"member {name}", f"is {member.state}")
    rights = resolve(provider.table, member)
    granted = tuple(scope for scope in allow(scopes, rights) if scope != "offline_access")
    if not granted:
        raise InputError("--scope", f"{name} may have none of these", f"`farmlet explain {name}` shows what they may have")
    claims = tokens.claim_access(
        provider.issuer,
        str(member.sub),
        CLIENT,
        resolve_audience(audience, None) or (tokens.ANY,),
        granted,
        provider.configuration.lifetimes.access,
        username=member.name,
        groups=rights.groups,
        optional=rights.optional,
        act={"sub": by},
    )
    provider.record("token.minted", member=name, scopes=list(granted), audience=audience, reason=reason, by=by, jti=claims["jti"])
    return tokens.sign(claims, provider.keys.signing())
