"""Offline verification of access tokens of the WLCG Common JWT Profile 1.x (a JWT, RFC 7519, of type at+jwt, RFC 9068).

Needs joserfc. Nothing is asked of the issuer per token: its keys are fetched once and kept.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from joserfc.jws import extract_compact
from joserfc.jwt import Token

from farmlet.errors import FarmletError
from farmlet.runtime.issuer import logins
from farmlet.runtime.oauth import Unreachable, load_json, load_metadata

ALGORITHMS = ("ES256", "RS256")
FRESH = 60.0  # seconds that fetched keys are used: the bound within which a withdrawn key is refused
STALE = 3600.0  # seconds that they are used on when the issuer does not answer
LEEWAY = 10.0  # seconds between clocks
FOREVER = 1e11  # seconds since the epoch; JSON has numbers that no clock shows, and Python reads NaN and Infinity too


class Refused(FarmletError):
    """The token is not good here."""

    def __init__(self, what: str) -> None:
        super().__init__("access token", what)


@dataclass(frozen=True)
class Claims:
    """What a verified token says. `expires` in seconds since the epoch; `username` is "" for a program's own token.

    `actor` names who acts for the member (`act`, RFC 8693 §4.1), "" if nobody does. `raw` is the whole claims set.
    """

    issuer: str
    sub: str
    audience: tuple[str, ...]
    scopes: frozenset[str]
    expires: float
    jti: str = ""
    client_id: str = ""
    username: str = ""
    groups: tuple[str, ...] = ()
    actor: str = ""
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


def check(
    token: str,
    keys: KeySet,
    issuer: str,
    audience: Collection[str] | None,
    *,
    now: float | None = None,
    typed: bool = True,
) -> Claims:
    """Verify `token` against `keys`. `audience`: one of them must be in `aud`; None accepts any. Raises Refused.

    `typed`: it must say that it is an access token. INDIGO IAM's say nothing; without it their claims are looked at.
    """
    decoded = unseal(token, keys)
    # an ID token or a logout token of the same issuer is signed by the same key and is no access token (RFC 9068 §4)
    if not _is_access(decoded.header.get("typ"), decoded.claims, typed):
        # an ID token has no scope either; one of the two mistakes is the administrators' to mend
        hint = "" if typed or "scope" in decoded.claims else ", or its client at an INDIGO IAM has not the scope `wlcg`"
        raise Refused(f"it is not an access token{hint}")
    claims = _read(decoded.claims)
    if claims.issuer != issuer:
        raise Refused(f"its issuer is {claims.issuer}, not {issuer}")
    if audience is not None and not set(audience) & set(claims.audience):
        raise Refused(f"it is meant for {' '.join(claims.audience) or 'nobody'}, not for {' or '.join(audience)}")
    moment = time.time() if now is None else now
    if claims.expires + LEEWAY <= moment:
        raise Refused("it has expired")
    if max(decoded.claims.get("nbf", 0), decoded.claims.get("iat", 0)) - LEEWAY > moment:
        raise Refused("it is not valid yet")
    return claims


def unseal(token: str, keys: KeySet) -> Token:
    """Header and claims of a JWT that one of `keys` signed; whatever else it says is not looked at. Raises Refused."""
    try:
        decoded = jwt.decode(token, keys, algorithms=list(ALGORITHMS))
    except (JoseError, ValueError, TypeError, RecursionError) as error:  # joserfc stumbles over a list within `crit`
        raise Refused(f"its signature does not hold ({type(error).__name__})") from error
    if "crit" in decoded.header:  # RFC 7515 §4.1.11: we know no extension that must be understood
        raise Refused("its header demands an extension")
    return decoded


def _is_access(kind: object, claims: Mapping[str, Any], typed: bool) -> bool:
    """Whether it is an access token: by its type, or, if that is left open, by what only those or only others claim."""
    if str(kind or "").lower() in ("at+jwt", "application/at+jwt"):
        return True
    plain = kind is None or str(kind).upper() == "JWT"
    return not typed and plain and "scope" in claims and not claims.keys() & {"nonce", "at_hash", "events"}


def _read(raw: Mapping[str, Any]) -> Claims:
    """The claims in their types; what is missing or of another type is refused."""
    audience = raw.get("aud", [])
    times = [raw.get("exp"), raw.get("nbf", 0), raw.get("iat", 0)]
    texts = [raw.get(name, "") for name in ("iss", "sub", "scope", "jti", "client_id", "preferred_username")]
    lists = [[audience] if isinstance(audience, str) else audience, raw.get("wlcg.groups", [])]
    if not all(isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < FOREVER for value in times):
        raise Refused("exp, nbf or iat is missing or no number")
    if not all(isinstance(value, str) for value in texts) or not texts[0] or not texts[1]:
        raise Refused("iss or sub is missing, or a text claim is no text")
    if not all(isinstance(value, list) and all(isinstance(item, str) for item in value) for value in lists):
        raise Refused("aud or wlcg.groups is no list of texts")
    actor = raw.get("act")
    return Claims(
        issuer=texts[0],
        sub=texts[1],
        audience=tuple(lists[0]),
        scopes=frozenset(texts[2].split()),
        expires=float(raw["exp"]),
        jti=texts[3],
        client_id=texts[4],
        username=texts[5],
        groups=tuple(lists[1]),
        actor=str(actor.get("sub", "")) if isinstance(actor, Mapping) else "",
        raw=raw,
    )


class Verifier:
    """Verifies tokens of one issuer for one service. Thread-safe.

    `audience`: the name or names under which this service accepts tokens; `ca`: a PEM file of authorities, None for
    the system's. Keys are fetched at the first token, again every 60 s, and at once for an unknown key (not more often
    than every 5 s). While the issuer is silent the last keys serve for an hour. `typed`: see `check`. `clients`: for a service
    that logs members in, whose tokens count (see `logins.find_fault`); None where that is of no matter.
    """

    def __init__(
        self,
        issuer: str,
        audience: str | Collection[str],
        ca: str | None = None,
        typed: bool = True,
        clients: Collection[str] | None = None,
    ) -> None:
        self.issuer, self.ca, self.typed, self.clients = issuer, ca, typed, clients
        self.audience = (audience,) if isinstance(audience, str) else tuple(audience)
        self._lock = threading.Lock()
        self._keys: KeySet | None = None
        self._fetched = self._tried = float("-inf")

    def verify(self, token: str) -> Claims:
        """The claims of a good token. Raises Refused, or Unreachable when the issuer's keys cannot be had."""
        keys = self._current(FRESH)
        if (kid := _kid(token)) is not None and kid not in {key.kid for key in keys}:
            keys = self._current(5.0)
        claims = check(token, keys, self.issuer, self.audience, typed=self.typed)
        if self.clients is not None and (fault := logins.find_fault(claims.raw, self.clients)):
            raise Refused(fault)
        return claims

    def _current(self, age: float) -> KeySet:
        """Keys at most `age` seconds old, as far as the issuer answers."""
        with self._lock:
            now = time.monotonic()
            if self._keys is None or (now - self._fetched > age and now - self._tried > min(age, 5.0)):
                self._tried = now
                try:
                    self._keys, self._fetched = self._load(), now
                except (FarmletError, JoseError, ValueError, KeyError, TypeError) as error:
                    if self._keys is None or now - self._fetched > STALE:
                        self._keys = None
                        raise Unreachable(self.issuer, f"its keys cannot be had: {error}") from error
            return self._keys

    def _load(self) -> KeySet:
        uri = load_metadata(self.issuer, self.ca)["jwks_uri"]
        return KeySet.import_key_set({"keys": list(load_json(uri, self.ca)["keys"])})


def _kid(token: str) -> str | None:
    """The key the token names, unverified: only a reason to look for newer keys."""
    try:
        kid = extract_compact(token.encode()).headers().get("kid")
    except (JoseError, ValueError, TypeError, RecursionError):
        return None
    return kid if isinstance(kid, str) else None
