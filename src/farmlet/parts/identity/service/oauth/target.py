"""Whom a token is for: `audience` (WLCG profile, RFC 8693) and `resource` (RFC 8707), which mean the same here."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from farmlet.facility.places import AUDIENCES

NAME = re.compile(r"[!#-\[\]-~]+")  # as scopes are (RFC 6749 §3.3): they come into headers, logs and databases


def name(pairs: Iterable[tuple[str, str]]) -> str | None:
    """All audiences of a request's parameters, blank-separated, in their order, each once; "" where it names none.

    Both parameters may be repeated and used together; `audience` may hold several. None if a `resource` is no absolute
    URI or has a fragment (RFC 8707 §2), for odd characters, and for too many.
    """
    found: list[str] = []
    for key, value in pairs:
        if key == "resource" and value and not _absolute(value):
            return None
        if key in ("audience", "resource"):
            found += value.split()
    text = " ".join(unique := dict.fromkeys(found))
    return text if len(text) <= AUDIENCES and all(map(NAME.fullmatch, unique)) else None


def _absolute(text: str) -> bool:
    try:
        url = urlsplit(text)
    except ValueError:
        return False
    plain = text.isprintable() and not any(letter.isspace() or letter in '"\\<>#' for letter in text)
    return plain and bool(url.scheme) and bool(url.netloc or url.path)
