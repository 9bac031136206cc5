"""Scopes as plain values: which of those asked for lie within those held, and what the rights table gives.

Standard library only. Sources: WLCG Common JWT Profile 1.x, RFC 6749 §3.3.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence

from farmlet.facility.paths import normalise, within
from farmlet.facility.rights import COMPUTE, PATHS, RIGHTS, Rights

STORAGE = ("storage.read:/", "storage.create:/", "storage.modify:/", "storage.stage:/")
PROBE = "/.farmlet"  # on each storage element: where the facility's own checks write, and nothing else of theirs counts
GROUPS = re.compile(r"wlcg\.groups(?::(/[a-z0-9_-]+(?:/[a-z0-9_-]+)*))?")


def scopes(rights: Rights) -> tuple[str, ...]:
    """Every scope that the table gives a member, sorted, by the WLCG Common JWT Profile 1.x (`rights.RIGHTS`)."""
    paths = (f"{verb}:{path}" for verb, allowed in _allowed(rights).items() for path in allowed)
    return tuple(sorted((*paths, *_compute(rights))))


def grant(requested: Iterable[str], rights: Rights, other: frozenset[str] = frozenset()) -> tuple[str, ...]:
    """The requested scopes that a member may have, each once, in the order of the request; the others are left out.

    A storage scope is kept if its path lies within an allowed one. One that is wider than the right is answered with
    the allowed paths below it (RFC 6749 §3.3 lets a server grant less than was asked). Other scopes pass only if they
    are in `other`; what the table decides never passes that way.
    """
    allowed = _allowed(rights)
    passed = {scope for scope in other if not scope.startswith(("storage.", "compute."))} | set(_compute(rights))
    granted: list[str] = []
    for scope in requested:
        verb, _, text = scope.partition(":")
        path = normalise(text)
        if scope in passed:
            granted.append(scope)
        elif path is not None and verb in allowed:
            granted += _cut(verb, path, allowed[verb])
    return tuple(dict.fromkeys(granted))


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
        yield from _cut(verb, path, limits) if path is not None else ()
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


def _cut(verb: str, path: str, limits: Sequence[str]) -> list[str]:
    """The scope if its path lies within one of `limits`, else those of them that lie below it."""
    if any(within(path, limit) for limit in limits):
        return [f"{verb}:{path}"]
    return [f"{verb}:{limit}" for limit in limits if within(limit, path)]


def _allowed(rights: Rights) -> dict[str, tuple[str, ...]]:
    return {scope: getattr(rights, right.field) for right in RIGHTS if right.field in PATHS for scope in right.scopes}


def _compute(rights: Rights) -> tuple[str, ...]:
    return COMPUTE if rights.batch_group is not None else ()
