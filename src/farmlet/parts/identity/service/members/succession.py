"""Who owns a service member: a rule over plain values. No request, no database.

The owner is a group in which somebody is active. When the last one leaves, the group above takes over, and at last the
first group of administrators: what a facility runs on does not end with one person.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from farmlet.facility.names import ancestors
from farmlet.facility.rights import Table


def find_staffed(table: Table, groups: Iterable[str]) -> frozenset[str]:
    """The groups of the table that have somebody; `groups` are those that active persons were put in, in any order.

    Who is in `lab/production` is one of `lab` too, as with rights. A group that the table lacks has nobody.
    """
    known = [path for path in set(groups) if path in table.groups]
    return frozenset(step for path in known for step in (*ancestors(path), path) if step in table.groups)


def succeed(owner: str, staffed: Collection[str], table: Table) -> str | None:
    """The group that owns what `owner` owned: itself while it is staffed, else the nearest group above that is, else the
    first group of the table that administers and is. None if there is nobody."""
    administrators = (path for path, rights in table.groups.items() if rights.administer)
    line = (owner, *reversed(ancestors(owner)), *administrators)
    return next((path for path in line if path in staffed), None)
