"""What a member stored, as the credential monitor reads it. Standard library only."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from farmlet.facility.places import CREDENTIAL
from farmlet.runtime.issuer.jwt import peek

Item = TypeVar("Item")

LIMIT = 64 * 1024  # bytes of a credential
MOST = 100  # credentials of one member that are looked after; condor_credd takes as many as somebody likes to store
SERVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+=_-]{0,99}")  # what condor_credd takes as the name of a file


class Unusable(Exception):
    """A credential that cannot work as it is; the text says why."""


@dataclass(frozen=True)
class Wish:
    """What tokens of one `.top` are like: `of` is the service whose credential they come from, "" for its own.

    `scope` and `audience` are blank-separated; "" for the usual ones.
    """

    of: str = ""
    scope: str = ""
    audience: str = ""

    @classmethod
    def parse(cls, data: bytes) -> Wish:
        """Raises Unusable. HTCondor adds `scopes` and `audience`, with commas, to what a member stores."""
        raw = _load(data)
        of, scopes, audience = (raw.get(name) or "" for name in ("of", "scopes", "audience"))
        if not all(isinstance(text, str) for text in (of, scopes, audience)) or (of and not SERVICE.fullmatch(of)):
            raise Unusable("of, scopes and audience must be texts, the first the name of a service")
        return cls(of, " ".join(split(scopes)), " ".join(split(audience)))


@dataclass(frozen=True)
class Credential:
    """A refresh token of a public client."""

    issuer: str
    client_id: str
    refresh_token: str = field(repr=False)

    @classmethod
    def parse(cls, data: bytes, issuers: Sequence[str]) -> Credential:
        """Raises Unusable. Only `issuers` are asked: members write these files, and the monitor runs as root."""
        raw = _load(data)
        try:
            found = cls(*(raw[name] for name in ("issuer", "client_id", "refresh_token")))
        except KeyError as error:
            raise Unusable("it is not JSON with issuer, client_id and refresh_token") from error
        if not all(isinstance(text, str) and text for text in (found.issuer, found.client_id, found.refresh_token)):
            raise Unusable("issuer, client_id and refresh_token must be texts")
        if found.issuer not in issuers:
            raise Unusable(f"{found.issuer!r} is not an issuer of this facility; that is {' or '.join(issuers)}")
        return found


def rotate(data: bytes, refresh_token: str) -> bytes:
    """The stored form `data` with the token that replaces its own."""
    return json.dumps({**_load(data), "refresh_token": refresh_token}).encode()


def split(text: str) -> list[str]:
    """A list with blanks or commas."""
    return [word for word in re.split(r"[\s,]+", text) if word]


def read_end(token: bytes) -> float:
    """When a JWT ends (its `exp`, RFC 7519 §4.1.4; seconds since the epoch); 0 for a token that says nothing."""
    try:
        end = float(peek(token.decode())["exp"])
    except (LookupError, ValueError, TypeError, OverflowError):
        return 0.0
    return end if math.isfinite(end) else 0.0


def choose(tops: Iterable[str]) -> list[str]:
    """Which of the files of one member are looked after: MOST at most, the facility's own credential in any case."""
    return sorted(tops, key=lambda name: (name != f"{CREDENTIAL}.top", name))[:MOST]


def take_turns(items: Iterable[Item], whose: Callable[[Item], object]) -> list[Item]:
    """The first of each member, then the second of each, and so on; those of one member in the order they came."""
    turns: Counter[object] = Counter()
    ranked = []
    for item in items:
        ranked.append((turns[whose(item)], item))
        turns[whose(item)] += 1
    return [item for _, item in sorted(ranked, key=lambda pair: pair[0])]


def _load(data: bytes) -> Mapping[str, Any]:
    try:
        raw = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Unusable("it is not JSON") from error
    if not isinstance(raw, dict):
        raise Unusable("it is no JSON object")
    return raw
