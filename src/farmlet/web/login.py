"""Log-in of a web service of ours as a client of the facility's issuer: authorization code with PKCE, and a session of its own.

Authlib does the protocol; the service keeps nothing: an attempt and a session are signed cookies, which only browsers of the
service's own origin send (`__Host-`). Sources: OpenID Connect Core 1.0 §3.1, RFC 7636 (PKCE), RFC 9207 (`iss` of an answer),
RFC 9700 (current best practice), draft-ietf-httpbis-rfc6265bis (prefixes of cookies).
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from authlib.common.errors import AuthlibBaseError
from authlib.integrations.base_client import BaseApp, OAuth2Mixin, OpenIDMixin
from authlib.integrations.requests_client import OAuth2Session
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from farmlet.errors import FarmletError

SYSTEM = "/etc/ssl/certs/ca-certificates.crt"
BACK = "/login/back"  # where the issuer sends browsers back to, below the origin
SCOPE = "openid profile wlcg.groups"
SESSION, ATTEMPT = "__Host-session", "__Host-login-"
SESSION_SECONDS, ATTEMPT_SECONDS = 12 * 3600, 600
TIMEOUT = 15  # seconds for one question to the issuer
LEEWAY = 10  # seconds between clocks
SIGNED = ["HS256"]
LOCAL = re.compile(r"/(?![/\\])[!-~]*")  # a path here; what begins with two slashes is a host elsewhere


class Refused(FarmletError):
    """The log-in came to nothing; `what` and `hint` are for the person."""

    def __init__(self, what: str, hint: str = "begin again") -> None:
        super().__init__("log-in", what, hint)


class Away(FarmletError):
    """The issuer does not answer."""

    def __init__(self, issuer: str, why: object) -> None:
        super().__init__(issuer, f"does not answer: {why}", "try again in a moment")


@dataclass(frozen=True)
class Person:
    """Who is logged in: `sub` and UNIX name as the issuer gives them, groups as its tokens name them (`/lab`)."""

    sub: str
    name: str
    groups: tuple[str, ...] = ()
    display: str = ""


@dataclass(frozen=True)
class Step:
    """Where a browser goes next, and the Set-Cookie headers it is sent there with."""

    location: str
    cookies: tuple[str, ...]


class App(OAuth2Mixin, OpenIDMixin, BaseApp):  # type: ignore[misc]
    """Authlib's client without a web framework around it, as its own Flask and Django clients are made."""

    client_cls = OAuth2Session


class Login:
    """The log-in of one service. Thread-safe; nothing is kept but the issuer's metadata and keys.

    `origin`: the service's own, `https://portal.example.org`; the client `client` is registered for `origin` + BACK with
    `secret`. `key`: secret bytes that sign the cookies, of this service alone; a new key ends all sessions. `ca`: PEM file of
    authorities. A session lasts 12 h, whatever happens to the membership meanwhile.
    """

    def __init__(self, issuer: str, client: str, secret: str, origin: str, key: bytes, ca: str = SYSTEM) -> None:
        self.issuer, self.client, self.origin = issuer, client, origin
        self._key = OctKey.import_key(hashlib.sha256(key).digest())
        self._app = App(
            None,
            client_id=client,
            client_secret=secret,
            server_metadata_url=f"{issuer.rstrip('/')}/.well-known/openid-configuration",
            client_kwargs={
                "scope": SCOPE,
                "code_challenge_method": "S256",
                "default_timeout": TIMEOUT,
                "verify": ca,
                "trust_env": False,  # no proxy and no .netrc between us and the issuer
            },
        )

    def begin(self, target: str = "/") -> Step:
        """To the issuer; the person comes back to the path `target`. Raises Away."""
        try:
            request = self._app.create_authorization_url(self.origin + BACK, state=secrets.token_urlsafe(32))
        except (OSError, AuthlibBaseError, ValueError, RuntimeError) as error:
            raise Away(self.issuer, error) from error
        kept = {name: request[name] for name in ("state", "nonce", "code_verifier")}
        kept["target"] = target if LOCAL.fullmatch(target) else "/"
        cookie = self._keep(_name(request["state"]), "attempt", kept, ATTEMPT_SECONDS)
        return Step(request["url"], (cookie,))

    def finish(self, query: Mapping[str, str], cookies: Mapping[str, str]) -> Step:
        """The person is back with the issuer's answer, the parameters `query`. Raises Refused or Away."""
        state = query.get("state", "")
        attempt = self._read(cookies.get(_name(state), ""), "attempt")
        if not state or attempt is None or not secrets.compare_digest(attempt["state"].encode(), state.encode()):
            raise Refused("this log-in was not begun in this browser, or more than ten minutes ago")
        if query.get("iss", self.issuer) != self.issuer:
            raise Refused("the answer is of another issuer")
        if "code" not in query:
            denied = query.get("error") == "access_denied"
            raise Refused("the log-in was not allowed" if denied else "the issuer answered with an error")
        person = self._redeem(query["code"], attempt)
        claims = {"sub": person.sub, "name": person.name, "groups": list(person.groups), "display": person.display}
        session = self._keep(SESSION, "session", claims, SESSION_SECONDS)
        return Step(attempt["target"], (session, _forget(_name(state))))

    def who(self, cookies: Mapping[str, str]) -> Person | None:
        """Who is logged in by these cookies."""
        claims = self._read(cookies.get(SESSION, ""), "session")
        return Person(claims["sub"], claims["name"], tuple(claims["groups"]), claims["display"]) if claims else None

    def leave(self) -> Step:
        """The session here is over; the one at the issuer is not."""
        return Step("/", (_forget(SESSION),))

    def _redeem(self, code: str, attempt: Mapping[str, Any]) -> Person:
        options = {"iss": {"essential": True, "value": self.issuer}, "aud": {"essential": True, "value": self.client}}
        try:
            token = self._app.fetch_access_token(
                self.origin + BACK, code=code, code_verifier=attempt["code_verifier"], grant_type="authorization_code"
            )
            claims = self._app.parse_id_token(token, attempt["nonce"], options, leeway=LEEWAY)
        except OSError as error:
            raise Away(self.issuer, error) from error
        except (AuthlibBaseError, JoseError, ValueError, KeyError, TypeError) as error:
            raise Refused(f"the issuer's answer is not good ({type(error).__name__})") from error
        return _find_person(claims or {})

    def _keep(self, name: str, kind: str, claims: Mapping[str, Any], seconds: int) -> str:
        """A Set-Cookie header for claims that nobody else can make, for this service, this use of it and this time only."""
        now = int(time.time())
        sealed = {**claims, "aud": self.origin, "use": kind, "iat": now, "exp": now + seconds}
        text = jwt.encode({"alg": "HS256"}, sealed, self._key, algorithms=SIGNED)
        return f"{name}={text}; Path=/; Max-Age={seconds}; Secure; HttpOnly; SameSite=Lax"

    def _read(self, text: str, kind: str) -> dict[str, Any] | None:
        """The claims that `_keep` made, as long as they hold."""
        registry = jwt.JWTClaimsRegistry(
            leeway=0,
            aud={"essential": True, "value": self.origin},
            use={"essential": True, "value": kind},
            exp={"essential": True},
        )
        try:
            claims = jwt.decode(text, self._key, algorithms=SIGNED).claims
            registry.validate(claims)
        except (JoseError, ValueError, TypeError):
            return None
        return claims


def _find_person(claims: Mapping[str, Any]) -> Person:
    """Who an ID token speaks of. Raises Refused for one without a UNIX name: a program's."""
    sub, name, groups = claims.get("sub"), claims.get("preferred_username"), claims.get("wlcg.groups", [])
    texts = [sub, name, *(groups if isinstance(groups, list) else [None])]
    if not all(isinstance(text, str) and text for text in texts):
        raise Refused("the issuer does not say who you are here", "ask the administrators")
    display = claims.get("name")
    return Person(str(sub), str(name), tuple(groups), display if isinstance(display, str) else "")


def _name(state: str) -> str:
    """The cookie of one attempt: in each window of a browser one may be under way."""
    return ATTEMPT + hashlib.sha256(state.encode(errors="replace")).hexdigest()[:16]


def _forget(name: str) -> str:
    return f"{name}=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Lax"
