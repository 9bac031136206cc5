"""XRootD's table of groups (its "Authfile"), for a facility whose issuer is not ours: pure, standard library only.

An INDIGO IAM grants storage scopes by a policy of its own, which knows nothing of our rights table. So scopes count for
nothing with it, and groups for all: never both, or a token that may only read would write what its bearer's groups may.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from farmlet.errors import InputError
from farmlet.facility.rights import Rights, Table

PLAIN = re.compile(r"[A-Za-z0-9/._+~-]+")  # what means nothing else in the table
HEAD = """\
# Written by farmlet: what members of the issuer's groups may do. Groups only: no rule gives users, hosts or anybody anything.
# rl: read and list; a: all. Within a line the first path that fits counts, over lines of one's groups all that is given.
"""


def write_table(table: Table, claims: Mapping[str, str], prefix: str = "/", ended: str = "") -> str:
    """The Authfile for the rights `table`. `claims`: group path → its name in tokens (`wlcg.groups`).

    `prefix`: where in the server's name space our paths begin. `ended`: the name from which all is taken again, "" for none.

    A path with `{user}` belongs to no group, so nobody is given it. Raises InputError for a path that cannot stand here.
    """
    shared = share(table)
    lines = []
    for path in shared.groups:
        rules = list(_rules(shared.of("member", [path]), path, prefix.rstrip("/")))
        if rules:
            lines.append(f"g {claims[path]} {' '.join(rules)}\n")
    return HEAD + "".join(lines) + (f"# what is taken counts over what is given\nu {ended} / -a\n" if ended else "")


def share(table: Table) -> Table:
    """The table without the paths that hold `{user}`: what the members of a group have in common.

    Staging goes too: XRootD's table has no word for it.
    """
    return Table(
        {
            path: replace(rights, read=_common(rights.read), write=_common(rights.write), stage=())
            for path, rights in table.groups.items()
        }
    )


def _common(patterns: Iterable[str]) -> tuple[str, ...]:
    return tuple(pattern for pattern in patterns if "{user}" not in pattern)


def _rules(rights: Rights, group: str, prefix: str) -> Iterator[str]:
    """`PATH PRIVILEGES`, the longest path first, since the first that fits decides."""
    for path in sorted({*rights.read, *rights.write}, key=lambda path: (-len(path), path)):
        if not PLAIN.fullmatch(path):
            raise InputError(f"groups.{group}.storage", f"{path!r} cannot stand in XRootD's table of groups")
        # XRootD compares texts: without its slash /data would open /database as well
        yield f"{prefix}{path.rstrip('/')}/ {'a' if path in rights.write else 'rl'}"
