"""Which roles run on which node: `runs:` names parts or single roles, a bare part spreads its roles.

The rule, for a bare part P that node N lists:

- `control` roles go to the control node, `every` roles to all nodes;
- `members` roles go to N; but if N is the control node and other nodes run `access`, they go to those, because members
  run code where they log in and what can mint or decide must not be there;
- `named` roles go nowhere, a line must ask for them;
- a role with `with_role` goes wherever that role is.

An explicit `P.role` puts exactly that role on N and takes it out of the spread of P. `base` is on every node unasked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from farmlet.facility.catalog import Catalog, RoleSpec

IMPLICIT = "base"


def is_external(parts: Mapping[str, object]) -> bool:
    """Whether the section `identity` among those of the `parts` names an issuer other than our own."""
    return getattr(parts.get("identity"), "issuer", "builtin") != "builtin"


def find_controls(runs: Mapping[str, Sequence[str]], catalog: Catalog, external: bool) -> tuple[str, ...]:
    """The nodes that could be the control node: just one, unless the file is ambiguous (or has no nodes).

    `runs`: node → its list. It is the node of `identity`, or with an `external` issuer that of `accounts`; without
    either that of `overlay`, or the only node.
    """
    deciding = ("accounts", "overlay") if external else ("identity", "accounts", "overlay")
    for part in deciding:
        nodes = tuple(node for node, items in runs.items() if _lists(items, part, "control", catalog))
        if nodes:
            return nodes
    return tuple(runs)


def place(runs: Mapping[str, Sequence[str]], catalog: Catalog, control: str) -> dict[str, tuple[str, ...]]:
    """Node → its roles as `part.role`, in the order of the catalogue. All items of `runs` must be known."""
    explicit = {item for items in runs.values() for item in items if "." in item}
    places = {item: [node for node, items in runs.items() if item in items] for item in explicit}
    followers: dict[str, str] = {}
    for part in catalog.values():
        listing = [node for node, items in runs.items() if part.name in items or part.name == IMPLICIT]
        for role in part.roles if listing else ():
            name = f"{part.name}.{role.name}"
            if name in explicit:
                continue
            if role.with_role:
                followers[name] = role.with_role
            else:
                places[name] = _targets(role, listing, runs, catalog, control)
    for name in followers:
        places[name] = places.get(_lead(name, followers), [])
    order = [f"{part.name}.{role.name}" for part in catalog.values() for role in part.roles]
    return {node: tuple(name for name in order if node in places.get(name, ())) for node in runs}


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
    access = {node for node, items in runs.items() if node != control and _lists(items, "access", "members", catalog)}
    if control in targets and access:
        targets = targets - {control} | access
    return [node for node in runs if node in targets]


def _lists(items: Sequence[str], part: str, kind: str, catalog: Catalog) -> bool:
    """Whether a node lists `part`, bare or by one of its roles of this `kind` of place."""
    roles = catalog[part].roles if part in catalog else ()
    return part in items or any(f"{part}.{role.name}" in items for role in roles if role.place == kind)


def _lead(name: str, followers: Mapping[str, str]) -> str:
    """The role at the head of a chain of `with_role`; a circle has none and yields one of its own, which is nowhere."""
    seen = {name}
    while (name := followers[name]) in followers and name not in seen:
        seen.add(name)
    return name
