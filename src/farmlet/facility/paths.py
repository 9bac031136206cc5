"""Paths of storage as plain values: which are sound, and which lie within which. Standard library only."""

from __future__ import annotations

import re
from collections.abc import Iterable

# Characters of an OAuth scope token (RFC 6749 §3.3) without `%`: an escaped path could mean another one to a server.
PATH = re.compile(r"/|(?:/[!#$&-.0-\[\]-~]+)+/?")


def normalise(path: str) -> str | None:
    """`path` without its trailing slash, or None if it is not a plain absolute path.

    Refused: relative and empty paths, `.` and `..`, `//`, `%` escapes, and characters that a scope cannot carry.
    """
    if not PATH.fullmatch(path) or {".", ".."} & set(path.split("/")):
        return None
    return path.rstrip("/") or "/"


def within(path: str, parent: str) -> bool:
    """Whether `path` is `parent` or lies below it, step by step; both normalised. `/database` is not within `/data`."""
    return path == parent or path.startswith(parent.rstrip("/") + "/")


def reduce(paths: Iterable[str]) -> tuple[str, ...]:
    """The sorted paths that lie within no other one of `paths`."""
    given = set(paths)
    if len(given) < 2:
        return tuple(given)
    return tuple(sorted(path for path in given if not any(path != other and within(path, other) for other in given)))
