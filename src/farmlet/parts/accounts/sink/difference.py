"""The steps from what a directory holds to what it should hold. Pure; standard library only.

Each entry of ours carries `description: MARK …` (the layout's mark); what does not is nobody of ours and is never touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Literal

from farmlet.parts.accounts.sink.state import MARK, Attributes, Entries, Fault

MEMBERS = "memberUid"
SHOWN = 5  # names of a group's members in one line


@dataclass(frozen=True)
class Change:
    """One step: `attributes` are all of the entry for `add`, those that differ for `modify` (empty: taken away).

    `before`: the same attributes as they are, of a `modify`.
    """

    kind: Literal["add", "modify", "delete"]
    dn: str
    attributes: Attributes
    before: Attributes = field(default_factory=dict)

    @property
    def name(self) -> str:
        return find_name(self.dn)

    def __str__(self) -> str:
        """Who, what, from → to, on one line."""
        kind = self.dn.partition("=")[0]
        who = f"{ {'uid': 'member', 'cn': 'group'}.get(kind, 'entry') } {self.name or self.dn}"
        if self.kind == "delete":
            return f"{who}: deleted"
        if self.kind == "add":
            number = self.attributes.get("uidNumber" if kind == "uid" else "gidNumber", ())
            members = len(self.attributes.get(MEMBERS, ()))
            return f"{who}: added{''.join(f', number {one}' for one in number)}{f', {members} members' if members else ''}"
        return f"{who}: {'; '.join(self._describe())}"

    def _describe(self) -> Iterator[str]:
        for name, values in self.attributes.items():
            old = self.before.get(name, ())
            if name == MEMBERS:
                yield " ".join((*_list("+", set(values) - set(old)), *_list("-", set(old) - set(values))))
            else:
                yield f"{name} {', '.join(old) or 'none'} → {', '.join(values) or 'none'}"


def _list(sign: str, names: AbstractSet[str]) -> Iterator[str]:
    yield from (f"{sign}{name}" for name in sorted(names)[:SHOWN])
    if len(names) > SHOWN:
        yield f"{sign}({len(names) - SHOWN} more)"


@dataclass(frozen=True)
class Difference:
    """The steps in their order, and what is in the way of others."""

    changes: tuple[Change, ...]
    faults: tuple[Fault, ...] = ()


def diff(
    found: Iterable[tuple[str, Attributes]], wanted: Entries, mark: str = MARK, held: AbstractSet[str] = frozenset()
) -> Difference:
    """What turns `found` into `wanted`. What somebody else has a member's name or number for is left out and told.

    `found` is gone through once, so that it need not be held in memory. Entries of `held` names stay as they are.
    """
    missing, ours, anew, taken = dict(wanted), list[str](), list[str](), dict[tuple[str, str], str]()
    present: dict[str, Attributes] = {}
    for dn, attributes in found:
        name = find_name(dn)
        if not is_ours(attributes, mark):
            taken.update((claim, dn) for claim in _claim(attributes))
            if dn in missing:
                taken["dn", dn] = dn
        elif want := missing.pop(dn, None):
            if name not in held and _is_other(attributes, want):
                anew.append(dn)
                continue
            # members of groups wait for what is found of the others
            if name not in held and (MEMBERS in want or MEMBERS in attributes or _different(attributes, want)):
                present[dn] = attributes
        elif name not in held:
            ours.append(dn)
    faults, refused = _find_faults(wanted, missing, taken)
    changes = [
        *(Change("delete", dn, {}) for dn in sorted(ours)),  # a name or number may be in the way of another's
        *(step for dn in anew for step in (Change("delete", dn, {}), Change("add", dn, wanted[dn]))),
        *_modify(present, wanted, held, refused),  # ends come before beginnings
        *_add(missing, held, refused),
    ]
    return Difference(tuple(changes), faults)


def _find_faults(
    wanted: Entries, missing: Entries, taken: dict[tuple[str, str], str]
) -> tuple[tuple[Fault, ...], frozenset[str]]:
    """What others are in the way of, and the names of whom nothing of ours is there and nothing may be made."""
    faults, refused = [], set[str]()
    if not taken:
        return (), frozenset()
    for dn, attributes in wanted.items():
        name = find_name(dn)
        claims = [("dn", dn), *_claim(attributes)]
        others = {taken[claim]: claim for claim in claims if claim in taken}
        for other, (what, value) in others.items():
            told = "has this name" if other == dn else f"has {what} {value}"
            faults.append(Fault(f"directory entry {other}", f"is not Farmlet's, but {told} of {dn}", frozenset({name} - {""})))
        if others and dn in missing:
            refused.add(name)
    return tuple(faults), frozenset(refused - {""})


def _modify(present: Entries, wanted: Entries, held: AbstractSet[str], refused: AbstractSet[str]) -> Iterator[Change]:
    for dn in (dn for dn in wanted if dn in present):
        want, attributes = dict(wanted[dn]), present[dn]
        if MEMBERS in want or MEMBERS in attributes:
            stay = set(attributes.get(MEMBERS, ())) & held
            want[MEMBERS] = tuple(sorted((set(want.get(MEMBERS, ())) - held - refused) | stay))
        if different := _different(attributes, want):
            yield Change("modify", dn, different, {name: attributes.get(name, ()) for name in different})


def _add(missing: Entries, held: AbstractSet[str], refused: AbstractSet[str]) -> Iterator[Change]:
    for dn, attributes in missing.items():
        if find_name(dn) in held | refused:
            continue
        if members := attributes.get(MEMBERS):
            left = tuple(name for name in members if name not in held and name not in refused)
            attributes = {key: left if key == MEMBERS else values for key, values in attributes.items() if key != MEMBERS or left}
        yield Change("add", dn, attributes)


def is_ours(attributes: Attributes, mark: str = MARK) -> bool:
    """Whether Farmlet made the entry."""
    return any(value.split(" ")[0] == mark for value in attributes.get("description", ()))


def normalise(dn: str) -> str:
    """One spelling of a distinguished name: servers keep the case and the spaces that they were given."""
    return ",".join(part.strip() for part in dn.split(",")).lower()


def find_name(dn: str) -> str:
    """The UNIX name of the account or group at `dn`; "" for another entry."""
    kind, _, value = dn.partition(",")[0].partition("=")
    return value if kind in ("uid", "cn") else ""


def _claim(attributes: Attributes) -> Iterator[tuple[str, str]]:
    """The names and numbers that an entry takes from all others, as systems that ask for them see it."""
    for name in ("uid", "uidNumber"):
        yield from ((name, value.lower()) for value in attributes.get(name, ()))
    if "posixGroup" in attributes.get("objectClass", ()):
        yield from ((f"group {name}", value.lower()) for name in ("cn", "gidNumber") for value in attributes.get(name, ()))


def _is_other(found: Attributes, wanted: Attributes) -> bool:
    """Whether the entry is another kind of thing, which no directory lets change: accounts were once no persons."""
    return "account" in found.get("objectClass", ()) and "account" not in wanted["objectClass"]


def _different(found: Attributes, wanted: Attributes) -> dict[str, tuple[str, ...]]:
    return {
        name: tuple(wanted.get(name, ()))
        for name in sorted({*found, *wanted})
        if not _same(name, found.get(name, ()), wanted.get(name, ()))
    }


def _same(name: str, found: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    if name == "objectClass":  # servers add what is implied, and others what they need
        return set(wanted) <= set(found)
    return found == wanted or sorted(found) == sorted(wanted)
