"""What the directory should hold, worked out from the members: pure, so that it can be tested without a server.

Standard library only. Entries follow RFC 2307. Each of ours carries `description: farmlet …`; what does not is nobody
of ours and is never touched.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from farmlet.errors import FarmletError
from farmlet.facility.names import MEMBER, accounting_group, unix_group
from farmlet.facility.rights import Rights, Table
from farmlet.parts.accounts.membership import Member

MARK = "farmlet"
NO_SHELL = "/usr/sbin/nologin"
LIMITS = ("cores", "memory", "tasks")
EXPIRED = "1"  # shadowExpire, in days since 1970: long ago

Attributes = Mapping[str, tuple[str, ...]]
Entries = Mapping[str, Attributes]  # by distinguished name


@dataclass(frozen=True)
class Account:
    """One member as the nodes need them. `groups`: UNIX name → gid; `login`: may log in if active.

    `service`: no person; its account owns files and processes, and nobody logs in to it. `sessions`: the limits that the
    table names, of cores, memory (bytes) and tasks. `batch`: the accounting groups that jobs may run in, the usual one first.
    """

    sub: str
    name: str
    uid: int
    gid: int
    title: str
    state: str
    login: bool
    groups: Mapping[str, int]
    service: bool = False
    sessions: Mapping[str, int] = field(default_factory=dict)
    batch: tuple[str, ...] = ()

    @property
    def active(self) -> bool:
        return self.state == "active"


def read(members: Iterable[Member], table: Table) -> tuple[Account, ...]:
    """The members' accounts, by name. Raises FarmletError for a member who cannot have one.

    Pending members have a number, but no account yet: nobody has approved them.
    """
    found = []
    for member in members:
        if not MEMBER.fullmatch(member.name):  # it becomes a path and a distinguished name
            raise FarmletError(f"member {member.name!r}", "not a UNIX name")
        rights = table.of(member.name, member.groups)
        if missing := [path for path in rights.groups if path not in member.groups]:
            raise FarmletError(f"member {member.name}", f"no number is known of the group {', '.join(missing)}")
        if member.state != "pending":
            found.append(_account(member, rights, tuple(map(accounting_group, table.shares(member.groups)))))
    return tuple(sorted(found, key=lambda account: account.name))


def _account(member: Member, rights: Rights, batch: tuple[str, ...]) -> Account:
    return Account(
        sub=member.sub,
        name=member.name,
        uid=member.uid,
        gid=member.gid,
        title=member.title,
        state=member.state,
        login=rights.login and not member.service,
        groups={unix_group(path): member.groups[path] for path in sorted(rights.groups)},
        service=member.service,
        batch=batch,
        sessions={name: limit for name in LIMITS if (limit := getattr(rights, f"session_{name}")) is not None},
    )


@dataclass(frozen=True)
class Layout:
    """Where things are: `base` is the directory's suffix, `homes` the folder of homes."""

    base: str
    homes: str
    shell: str

    @property
    def people(self) -> str:
        return f"ou=people,{self.base}"

    @property
    def groups(self) -> str:
        return f"ou=groups,{self.base}"


def suffix(domain: str) -> str:
    """`farmlet.test` → `dc=farmlet,dc=test` (RFC 2247)."""
    return ",".join(f"dc={label}" for label in domain.split("."))


def entries(accounts: Sequence[Account], layout: Layout) -> dict[str, Attributes]:
    """All entries the directory should hold, parents first.

    A suspended member stays with name and number, so that files keep an owner; the account is expired and in no group.
    A removed member is gone from the directory; the number is never given again.
    """
    found: dict[str, Attributes] = _frame(layout)
    members: dict[str, set[str]] = {}
    numbers: dict[str, int] = {}
    for account in accounts:
        if account.state == "removed":
            continue
        found[f"uid={account.name},{layout.people}"] = _person(account, layout)
        found[f"cn={account.name},{layout.groups}"] = _group(account.name, account.gid, ())
        for name, gid in account.groups.items():
            numbers[name] = gid
            if account.active:
                members.setdefault(name, set()).add(account.name)
    for name, gid in numbers.items():
        found[f"cn={name},{layout.groups}"] = _group(name, gid, sorted(members.get(name, ())))
    return found


def _frame(layout: Layout) -> dict[str, Attributes]:
    label = layout.base.split(",")[0].removeprefix("dc=")
    top = {"objectClass": ("dcObject", "organization"), "dc": (label,), "o": (label,), "description": (MARK,)}
    units = {
        dn: {"objectClass": ("organizationalUnit",), "ou": (dn.split(",")[0].removeprefix("ou="),), "description": (MARK,)}
        for dn in (layout.people, layout.groups)
    }
    return {layout.base: top, **units}


def _person(account: Account, layout: Layout) -> Attributes:
    # an IA5 string whose commas and colons mean something (RFC 2307, passwd(5)): letters keep their base, the rest goes
    plain = unicodedata.normalize("NFKD", account.title).encode("ascii", "ignore").decode()
    gecos = " ".join(re.sub(r"[^ -+\--9;-~]", " ", plain).split()) or account.name
    attributes: dict[str, tuple[str, ...]] = {
        "objectClass": ("account", "posixAccount", "shadowAccount"),
        "uid": (account.name,),
        "cn": (account.title,),
        "gecos": (gecos,),
        "uidNumber": (str(account.uid),),
        "gidNumber": (str(account.gid),),
        "homeDirectory": (f"{layout.homes}/{account.name}",),
        "loginShell": (NO_SHELL if account.service else layout.shell,),
        "description": (f"{MARK} {account.sub}",),
    }
    if not account.active:
        attributes["shadowExpire"] = (EXPIRED,)
    return attributes


def _group(name: str, gid: int, members: Sequence[str]) -> Attributes:
    attributes: dict[str, tuple[str, ...]] = {
        "objectClass": ("posixGroup",),
        "cn": (name,),
        "gidNumber": (str(gid),),
        "description": (MARK,),
    }
    if members:
        attributes["memberUid"] = tuple(members)
    return attributes


@dataclass(frozen=True)
class Change:
    """One step: `attributes` are all of the entry for `add`, those that differ for `modify` (empty: taken away)."""

    kind: Literal["add", "modify", "delete"]
    dn: str
    attributes: Attributes


def diff(found: Entries, wanted: Entries) -> list[Change]:
    """What turns `found` into `wanted`. Entries without our mark are left alone. Raises FarmletError if one is in the way."""
    changes = []
    for dn, attributes in wanted.items():
        if dn not in found:
            changes.append(Change("add", dn, attributes))
        elif not is_ours(found[dn]):
            raise FarmletError(f"directory entry {dn}", "is not Farmlet's, but a member or group has this name")
        elif different := _different(found[dn], attributes):
            changes.append(Change("modify", dn, different))
    gone = [dn for dn, attributes in found.items() if dn not in wanted and is_ours(attributes)]
    # who leaves goes first: a name or number may be in the way of another's
    return [*(Change("delete", dn, {}) for dn in sorted(gone)), *changes]


def is_ours(attributes: Attributes) -> bool:
    """Whether Farmlet made the entry."""
    return any(value.split(" ")[0] == MARK for value in attributes.get("description", ()))


def _different(found: Attributes, wanted: Attributes) -> dict[str, tuple[str, ...]]:
    names = {*found, *wanted}
    return {
        name: tuple(wanted.get(name, ())) for name in sorted(names) if sorted(found.get(name, ())) != sorted(wanted.get(name, ()))
    }


def listing(accounts: Sequence[Account], layout: Layout) -> bytes:
    """The item `accounts` for the nodes: JSON list of {"name", "sub", "uid", "gid", "home", "groups", "state", "login",
    "sessions", "batch"}; see Account.
    """
    rows = [
        {
            "name": account.name,
            "sub": account.sub,
            "uid": account.uid,
            "gid": account.gid,
            "home": f"{layout.homes}/{account.name}",
            "groups": list(account.groups),
            "state": account.state,
            "login": account.login,
            "sessions": dict(account.sessions),
            "batch": list(account.batch),
        }
        for account in accounts
    ]
    return (json.dumps(rows, indent=1) + "\n").encode()
