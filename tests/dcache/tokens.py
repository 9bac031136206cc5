"""Whose token is taken, what it opens, and what happens to an address that shows too many others. §1–3."""

from __future__ import annotations

import posixpath
import time
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

PREFIX = "/pnfs/example.org/lab"
READ = frozenset(("list", "stat", "read"))
VERBS = {
    "storage.read": READ,
    "storage.stage": READ,
    "storage.create": frozenset(("create", "rename", "stat")),
    "storage.modify": frozenset(("create", "rename", "stat", "list", "overwrite", "delete")),
}
Login = tuple[tuple[str, str], ...]  # scope and path in this element's name space


class Unknown(Exception):
    """No login. The reason is in the element's log alone."""


@dataclass
class Authority:
    """What gPlazma and a door know of an issuer. All times in seconds.

    `fetch`: the issuer's JWKS; `behind`: how much this clock is slow.
    """

    issuer: str
    audiences: tuple[str, ...]
    fetch: Callable[[], Mapping[str, Any]]
    prefix: str = PREFIX
    behind: float = 0
    keep_keys: float = 6 * 3600
    keep_answers: float = 600
    errors: int = 3
    forget_errors: float = 20
    block: float = 10
    answers: dict[str, tuple[float, Login | None]] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    _keys: KeySet | None = None
    _fetched: float = 0
    _failed: dict[str, tuple[int, float]] = field(default_factory=dict)
    _blocked: dict[str, float] = field(default_factory=dict)

    def find_login(self, token: str) -> Login | None:
        """What a token opens. The answer is remembered, whatever it is, also past the token's end."""
        until, answer = self.answers.get(token, (0.0, None))
        if time.monotonic() < until:
            return answer
        try:
            answer = self._read_scopes(self._verify(token))
        except (Unknown, JoseError, ValueError, KeyError, AttributeError) as error:
            self.log.append(str(error))
            answer = None
        self.answers[token] = time.monotonic() + self.keep_answers, answer
        return answer

    def _verify(self, token: str) -> Mapping[str, Any]:
        claims = self._read(token)
        now = time.time() - self.behind
        if claims.get("iss") != self.issuer:
            raise Unknown(f"unknown issuer {claims.get('iss')}")
        if not float(claims.get("nbf", now)) <= now < float(claims.get("exp", 0)):
            raise Unknown("not at this time")
        named = claims.get("aud", self.audiences[0])
        if not set(named if isinstance(named, list) else [named]) & set(self.audiences):
            raise Unknown(f"audience {named}")
        if claims.get("wlcg.ver") != "1.0":
            raise Unknown("no profile wlcg 1.0")
        return claims

    def _read(self, token: str) -> Mapping[str, Any]:
        """Keys are asked for once in hours, whichever key a token names; without a name all are tried."""
        if self._keys is None or time.monotonic() - self._fetched > self.keep_keys:
            self._keys, self._fetched = KeySet.import_key_set(dict(self.fetch())), time.monotonic()  # type: ignore[arg-type]
        for key in self._keys.keys:
            try:
                found = jwt.decode(token, key, algorithms=["ES256", "ES384", "RS256"])
            except (JoseError, ValueError):
                continue
            if found.header.get("kid") in (None, key.kid):
                return found.claims
        raise Unknown("signature")

    def _read_scopes(self, claims: Mapping[str, Any]) -> Login:
        found = []
        for word in str(claims["scope"]).split():
            scope, colon, path = word.partition(":")
            if scope not in VERBS:
                continue
            if not colon or urllib.parse.unquote(path, errors="strict").count("%") != path.count("%25"):
                raise Unknown(f"scope {word}")
            inner = posixpath.normpath("/" + urllib.parse.unquote(path)).lstrip("/")  # `..` does not climb out of the prefix
            found.append((scope, posixpath.normpath(f"{self.prefix}/{inner}")))
        return tuple(found)

    @staticmethod
    def may(login: Login, verb: str, path: str) -> bool:
        """Folders above a path are open to be looked at, as far as the top."""
        for scope, base in login:
            below = path == base or path.startswith(base.rstrip("/") + "/")
            above = verb in ("list", "stat") and (base.startswith(path.rstrip("/") + "/"))
            if (below or above) and verb in VERBS[scope]:
                return True
        return False

    def forget(self, answers: bool = True) -> None:
        """As after a restart; without `answers` the errors alone."""
        self._failed.clear(), self._blocked.clear()
        if answers:
            self.answers.clear()
            self._keys = None

    # too many errors, by address

    def is_blocked(self, address: str) -> bool:
        return time.monotonic() < self._blocked.get(address, 0)

    def count_error(self, address: str) -> None:
        """A 401 was answered."""
        now = time.monotonic()
        count, last = self._failed.get(address, (0, 0.0))
        count = 1 if now - last > self.forget_errors else count + 1
        self._failed[address] = count, now
        if count >= self.errors:
            self._blocked[address] = now + self.block
            del self._failed[address]
