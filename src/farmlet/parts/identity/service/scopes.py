"""Scopes as plain values: which of those asked for lie within those held. No request, no database."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator

from farmlet.facility.rights import normalise, within

GROUPS = re.compile(r"wlcg\.groups(?::(/[a-z0-9_-]+(?:/[a-z0-9_-]+)*))?")


def intersect(requested: Iterable[str], held: Iterable[str], apart: Collection[str] = ()) -> tuple[str, ...]:
    """The requested scopes that lie within `held`, each once, in the order of the request.

    One that is wider is answered with what is held below it. `storage.read:/a/b` lies within `storage.read:/a`,
    `wlcg.groups:/lab` within `wlcg.groups`, unless the group (`lab`) is one of those `apart`: these must be held by name.
    """
    owned = tuple(dict.fromkeys(held))
    return tuple(dict.fromkeys(found for scope in requested for found in _within(scope, owned, apart)))


def _within(scope: str, owned: tuple[str, ...], apart: Collection[str]) -> Iterator[str]:
    verb, _, text = scope.partition(":")
    if verb.startswith("storage."):
        path = normalise(text)
        limits = [limit.partition(":")[2] for limit in owned if limit.startswith(f"{verb}:")]
        if path is not None and any(within(path, limit) for limit in limits):
            yield f"{verb}:{path}"
        elif path is not None:
            yield from (f"{verb}:{limit}" for limit in limits if within(limit, path))
    elif scope in owned or ((name := name_group(scope)) and name not in apart and "wlcg.groups" in owned):
        yield scope


def name_group(scope: str) -> str:
    """The group (`lab/production`) that a scope asks for by name, "" for any other scope."""
    match = GROUPS.fullmatch(scope)
    return (match[1] or "").removeprefix("/") if match else ""


def order_groups(scopes: Iterable[str], groups: Iterable[str], optional: Collection[str] = ()) -> list[str]:
    """The claim `wlcg.groups` (`/lab/production`, …) for these scopes, of a member of `groups` (paths).

    WLCG Common JWT Profile 1.1 §3.1: in the order of the request; plain `wlcg.groups` stands for the default groups, which are
    those that are not `optional`, in the order of the facility file; where it was not asked for they follow at the end.
    """
    held = tuple(groups)
    usual = [path for path in held if path not in optional]
    found: list[str] = []
    for scope in scopes:
        if name := name_group(scope):
            found += [name] if name in held else []
        elif scope == "wlcg.groups":
            found += usual
    return [f"/{path}" for path in dict.fromkeys([*found, *usual])]
