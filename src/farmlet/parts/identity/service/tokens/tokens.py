"""Tokens as plain values: claims in, a signed JWT out. No request, no database.

Sources: WLCG Common JWT Profile 1.x, RFC 9068 (type at+jwt), RFC 8693 §4.1 (`act`), OpenID Connect Core 1.0 §2.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from joserfc import jwt
from joserfc.jwk import Key

from farmlet.facility.scopes import GROUPS, order_groups

VERSION = "1.0"  # `wlcg.ver`: the only one that libscitokens takes
DEPTH = 8  # programs that may act for a member in a row
# seconds between clocks: SciTokens (XRootD, HTCondor), dCache and PyJWT have no leeway, and SciTokens and PyJWT look at `iat` too
MARGIN = 30  # at most, and 1/20 of the lifetime


def claim_access(
    issuer: str,
    subject: str,
    client: str,
    audience: Sequence[str],
    scopes: Sequence[str],
    lifetime: int,
    *,
    username: str = "",
    groups: Iterable[str] = (),
    optional: Collection[str] = (),
    act: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The claims of an access token. `groups` and `optional` are facility paths, `lifetime` in seconds, `act` see `nest`.

    `wlcg.groups` is there only when asked for: a relying party must not decide by groups when it was given scopes.
    """
    now = int(time.time())
    begin = now - min(MARGIN, lifetime // 20)
    claims: dict[str, Any] = {
        "iss": issuer,
        "sub": subject,
        "aud": list(audience) if len(audience) > 1 else audience[0],
        "iat": begin,
        "nbf": begin,
        "exp": now + lifetime,
        "jti": secrets.token_urlsafe(16),
        "scope": " ".join(scopes),
        "client_id": client,
        "wlcg.ver": VERSION,
    }
    if username:
        claims["preferred_username"] = username
    if any(GROUPS.fullmatch(scope) for scope in scopes):
        claims["wlcg.groups"] = order_groups(scopes, groups, optional)
    if act:
        claims["act"] = dict(act)
    return claims


def nest(actor: str, before: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The `act` claim of a token by which `actor` acts (RFC 8693 §4.1), around the one `before`; None if it gets too deep.

    Who acts already does not stand there twice.
    """
    if before and before.get("sub") == actor:
        return dict(before)
    depth, inner = 1, before
    while inner:
        depth, inner = depth + 1, inner.get("act")
    return None if depth > DEPTH else {"sub": actor, **({"act": dict(before)} if before else {})}


def claim_identity(
    issuer: str, subject: str, client: str, lifetime: int, access_token: str, details: dict[str, Any]
) -> dict[str, Any]:
    """The claims of an ID token for `client`; `details` are further ones (`auth_time`, `name`, …)."""
    now = int(time.time())
    left = hashlib.sha256(access_token.encode()).digest()[:16]  # OpenID Connect Core §3.1.3.6, for the *256 algorithms
    return {
        **details,
        "iss": issuer,
        "sub": subject,
        "aud": client,
        "iat": now - min(MARGIN, lifetime // 20),
        "exp": now + lifetime,
        "jti": secrets.token_urlsafe(16),
        "at_hash": base64.urlsafe_b64encode(left).decode().rstrip("="),
    }


def sign(claims: dict[str, Any], key: Key, kind: str = "at+jwt") -> str:
    """A JWT signed by `key`: ES256 by an elliptic key, RS256 by an RSA one."""
    algorithm = "ES256" if key.key_type == "EC" else "RS256"
    return jwt.encode({"alg": algorithm, "typ": kind, "kid": key.kid}, claims, key, algorithms=[algorithm])
