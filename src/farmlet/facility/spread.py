"""Which roles run on which node: `runs:` names parts or single roles, a bare part spreads its roles.

The rule, for a bare part P that node N lists:

- `control` roles go to the control node, `every` roles to all nodes;
- `members` roles go to N; but if N is the control node and members run code on other nodes (those of a part with `shell`),
  they go to those, because what can mint or decide must not be where members run code;
- `named` roles go nowhere, a line must ask for them;
- `routes` roles go to each node where another role has a web service;
- a role with `with_role` goes wherever that role is.

An explicit `P.role` puts exactly that role on N and takes it out of the spread of P. An `implicit` part is listed by all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from farmlet.facility.catalog import Catalog, RoleSpec


def rank(catalog: Catalog) -> list[str]:
    """The parts whose node is the control node, the first before all others."""
    return [part.name for part in sorted(catalog.values(), key=lambda part: part.decides) if part.decides]


def find_controls(runs: Mapping[str, Sequence[str]], catalog: Catalog) -> tuple[str, ...]:
    """The nodes that could be the control node: just one, unless the file is ambiguous (or has no nodes).

    `runs`: node → its list. It is the node of the first part that decides and that a node lists, or else the only node.
    """
    for part in rank(catalog):
        nodes = tuple(node for node, items in runs.items() if _lists(items, part, "control", catalog))
        if nodes:
            return nodes
    return tuple(runs)


def place(runs: Mapping[str, Sequence[str]], catalog: Catalog, control: str) -> dict[str, tuple[str, ...]]:
    """Node → its roles as `part.role`, in the order of the catalogue. All items of `runs` must be known."""
    explicit = {item for items in runs.values() for item in items if "." in item}
    places = {item: [node for node, items in runs.items() if item in items] for item in explicit}
    followers: dict[str, str] = {}
    proxies: list[str] = []
    for part in catalog.values():
        listing = [node for node, items in runs.items() if part.implicit or part.name in items]
        for role in part.roles if listing else ():
            name = f"{part.name}.{role.name}"
            if name in explicit:
                continue
            if role.with_role:
                followers[name] = role.with_role
            elif role.place == "routes":
                proxies.append(name)
            else:
                places[name] = _targets(role, listing, runs, catalog, control)
    for name in followers:
        places[name] = places.get(_lead(name, followers), [])
    specs = {f"{part.name}.{role.name}": role for part in catalog.values() for role in part.roles}
    serving = {node for name, nodes in places.items() if specs[name].routes for node in nodes}
    places |= {name: list(serving) for name in proxies}
    return {node: tuple(name for name in specs if node in places.get(name, ())) for node in runs}


def _targets(
    role: RoleSpec, listing: Sequence[str], runs: Mapping[str, Sequence[str]], catalog: Catalog, control: str
) -> list[str]:
    if role.place == "control":
        return [control]
    if role.place == "every":
        return list(runs)
    if role.place == "named":
        return []
    targets = set(listing)
    shells = [part.name for part in catalog.values() if part.shell]
    others = {node for node, items in runs.items() for part in shells if _lists(items, part, "members", catalog)} - {control}
    if control in targets and others:
        targets = targets - {control} | others
    return [node for node in runs if node in targets]


def _lists(items: Sequence[str], part: str, kind: str, catalog: Catalog) -> bool:
    """Whether a node lists `part`, bare or by one of its roles of this `kind` of place."""
    return part in items or any(f"{part}.{role.name}" in items for role in catalog[part].roles if role.place == kind)


def _lead(name: str, followers: Mapping[str, str]) -> str:
    """The role at the head of a chain of `with_role`; a circle has none and yields one of its own, which is nowhere."""
    seen = {name}
    while (name := followers[name]) in followers and name not in seen:
        seen.add(name)
    return name
