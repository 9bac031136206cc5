"""The web services of each node: which routes its roles have, and what of them cannot be together in one facility."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from itertools import combinations
from typing import Any

from farmlet.facility.catalog import Catalog
from farmlet.facility.model import Route

Clash = tuple[str, str, str]  # a node, what is wrong with what it runs, a hint


def find_routes(roles: Sequence[str], catalog: Catalog) -> list[tuple[str, Route]]:
    """The routes of `roles` (`part.role`), each with its role, in the same order."""
    specs = {f"{part.name}.{role.name}": role for part in catalog.values() for role in part.roles}
    return [(name, route) for name in roles for route in specs[name].routes]


def fit(route: Route, section: Any) -> Route:
    """The route as the `section` of its part has it."""
    return route if not route.wide or getattr(section, route.wide, False) else replace(route, wide="")


def find_clashes(spread: Mapping[str, Sequence[str]], catalog: Catalog) -> Iterator[Clash]:
    """What two web services would share. `spread`: node → its roles."""
    found = {node: find_routes(roles, catalog) for node, roles in spread.items()}
    for node, routes in found.items():
        for (first, one), (second, other) in combinations(routes, 2):
            if first != second and one.origin == other.origin and (path := _find_shared(one, other)):
                where = f"the origin {one.origin}" if one.origin else "the node's own name"
                yield node, f"{first} and {second} both have {path} of {where}", "put one of them on another node"
    yield from _find_twins(found)


def _find_twins(found: Mapping[str, Sequence[tuple[str, Route]]]) -> Iterator[Clash]:
    """Origins that lead to two machines: each is one name, and one name is one machine."""
    first: dict[str, str] = {}
    for node, routes in found.items():
        for origin, role in {route.origin: role for role, route in routes if route.origin}.items():
            if origin in found:
                yield node, f"{role} has the name {origin} for its pages, and a node is named so", "rename the node"
            elif first.setdefault(origin, node) != node:
                what = f"{role} has the name {origin} for its pages, which leads to node {first[origin]} already"
                yield node, what, f"list `{role}` in `runs` of one node"


def _find_shared(one: Route, other: Route) -> str:
    """A path that both routes have, in words, or ""."""
    if one.default and other.default:
        return "all other paths"
    for first in one.paths:
        for second in other.paths:
            if fnmatchcase(first, second) or fnmatchcase(second, first):
                return min(first, second, key=len)
    return ""
