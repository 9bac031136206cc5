"""Tokens as plain values: claims in, a signed JWT out. No request, no database.

Sources: WLCG Common JWT Profile 1.x, RFC 9068 (type at+jwt), RFC 8693 §4.1 (`act`), OpenID Connect Core 1.0 §2.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import time
from collections.abc import Iterable, Sequence
from typing import Any

from joserfc import jwt
from joserfc.jwk import Key

ANY = "https://wlcg.cern.ch/jwt/v1/any"
GROUPS = re.compile(r"wlcg\.groups(?::(/[a-z0-9_-]+(?:/[a-z0-9_-]+)*))?")


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
    actor: str = "",
) -> dict[str, Any]:
    """The claims of an access token. `groups` are facility paths (`lab/production`), `lifetime` in seconds.

    `wlcg.groups` is there only when asked for: a relying party must not decide by groups when it was given scopes.
    """
    now = int(time.time())
    claims: dict[str, Any] = {
        "iss": issuer,
        "sub": subject,
        "aud": list(audience) if len(audience) > 1 else audience[0],
        "iat": now,
        "nbf": now,
        "exp": now + lifetime,
        "jti": secrets.token_urlsafe(16),
        "scope": " ".join(scopes),
        "client_id": client,
        "wlcg.ver": "1.0",
    }
    if username:
        claims["preferred_username"] = username
    if any(GROUPS.fullmatch(scope) for scope in scopes):
        claims["wlcg.groups"] = order_groups(scopes, groups)
    if actor:
        claims["act"] = {"sub": actor}
    return claims


def order_groups(scopes: Sequence[str], groups: Iterable[str]) -> list[str]:
    """`/lab/production` and so on: first those asked for by name (`wlcg.groups:/lab`), then the others by name."""
    held = sorted(f"/{path}" for path in groups)
    named = [match[1] for scope in scopes if (match := GROUPS.fullmatch(scope)) and match[1] in held]
    return list(dict.fromkeys([*named, *held]))


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
        "iat": now,
        "exp": now + lifetime,
        "jti": secrets.token_urlsafe(16),
        "at_hash": base64.urlsafe_b64encode(left).decode().rstrip("="),
    }


def sign(claims: dict[str, Any], key: Key, kind: str = "at+jwt") -> str:
    """A JWT signed by `key`: ES256 by an elliptic key, RS256 by an RSA one."""
    algorithm = "ES256" if key.key_type == "EC" else "RS256"
    return jwt.encode({"alg": algorithm, "typ": kind, "kid": key.kid}, claims, key, algorithms=[algorithm])
