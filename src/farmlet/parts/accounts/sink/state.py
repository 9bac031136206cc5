"""What the directory should hold, worked out from the members: pure, so that it can be tested without a server.

Standard library only. Entries follow RFC 2307. Each of ours carries `description: MARK …` (see `difference`).
"""

from __future__ import annotations

import re
import unicodedata
import urllib.parse
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from farmlet.facility.names import MEMBER, accounting_group, check_member, unix_group
from farmlet.facility.rights import Rights, Table
from farmlet.parts.accounts.source.membership import Member
from farmlet.runtime.rows import FIRST_UID

MARK = "farmlet"
NO_SHELL = "/usr/sbin/nologin"
LIMITS = ("cores", "memory", "tasks")
SIZES = ("cores", "memory", "servers")
FOLDERS = ("home", "scratch")
EXPIRED = "1"  # shadowExpire, in days since 1970: long ago

Attributes = Mapping[str, tuple[str, ...]]
Entries = Mapping[str, Attributes]  # by distinguished name


@dataclass(frozen=True)
class Account:
    """One member as the nodes need them. `groups`: UNIX name → gid; `login`: may log in if active.

    `service`: no person; its account owns files and processes, and nobody logs in to it. `sessions`: the limits that the
    table names, of cores, memory (bytes) and tasks. `batch`: the accounting groups that jobs may run in, the usual one first.
    `space`: what the table gives of `home` and `scratch`, in bytes. `notebooks`: the largest notebook, in cores and memory
    (bytes); empty for who may have none. `administer`: whether they administer the facility. `left`: when a removed member was
    first missed, in seconds since 1970; 0 for the others.
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
    space: Mapping[str, int] = field(default_factory=dict)
    notebooks: Mapping[str, int] = field(default_factory=dict)
    administer: bool = False
    left: int = 0

    @property
    def active(self) -> bool:
        return self.state == "active"


@dataclass(frozen=True)
class Fault:
    """What could not be done, and the names of those for whom: everybody else is served."""

    where: str
    what: str
    names: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass(frozen=True)
class Reading:
    """The accounts, by name, and the members who cannot have one."""

    accounts: tuple[Account, ...]
    faults: tuple[Fault, ...] = ()


def read(members: Iterable[Member], table: Table, first_uid: int = FIRST_UID) -> Reading:
    """The members' accounts. A member who cannot have one is told, and left as they are; the others have theirs.

    No number below `first_uid` is a member's, whatever the source says.

    Pending members have a number, but no account yet: nobody has approved them.
    """
    found: dict[str, Account] = {}
    faults, numbers = [], dict[int, str]()
    names = {path: unix_group(path) for path in table.groups}
    bearers = frozenset(names.values())
    for member in sorted(members, key=lambda member: (member.uid, member.sub)):  # of two, who came first
        if member.state == "pending":
            continue
        fault = _check_number(member.uid, first_uid) or _check(member, bearers, found, numbers)
        if fault:
            faults.append(Fault(f"member {member.name!r}", fault, frozenset({member.name} - found.keys())))
            continue
        rights = table.common(member.groups)
        if missing := [path for path in rights.groups if path not in member.groups]:
            what = f"is left out of {', '.join(missing)}: no number is known of it"
            faults.append(Fault(f"member {member.name}", what))
        groups = {names[path]: member.groups[path] for path in sorted(rights.groups) if path in member.groups}
        batch = tuple(map(accounting_group, table.shares(member.groups)))
        found[member.name] = _account(member, rights, groups, batch)
        numbers[member.uid] = member.name
    return Reading(tuple(found[name] for name in sorted(found)), tuple(faults))


def _check_number(uid: int, first: int) -> str | None:
    return None if uid >= first else f"has the number {uid}, which is no member's: theirs begin at {first}"


def _check(member: Member, bearers: Container[str], found: Mapping[str, Account], numbers: Mapping[int, str]) -> str | None:
    if not MEMBER.fullmatch(member.name):  # it becomes a path and a distinguished name
        return "not a UNIX name"
    if member.name in bearers:
        return "has the UNIX name of a group"
    if member.name in found or member.uid in numbers:
        return f"has the name or the number {member.uid} of {numbers.get(member.uid, member.name)}"
    # the end of who got in by an older rule is carried out all the same
    return check_member(member.name) if member.state == "active" else None


def _account(member: Member, rights: Rights, groups: Mapping[str, int], batch: tuple[str, ...]) -> Account:
    return Account(
        sub=member.sub,
        name=member.name,
        uid=member.uid,
        gid=member.gid,
        title=member.title,
        state=member.state,
        login=rights.login and not member.service,
        groups=groups,
        service=member.service,
        batch=batch,
        sessions={name: limit for name in LIMITS if (limit := getattr(rights, f"session_{name}")) is not None},
        space={name: size for name in FOLDERS if (size := getattr(rights, name)) is not None},
        notebooks={name: size for name in SIZES if (size := getattr(rights, f"notebooks_{name}")) is not None},
        administer=rights.administer,
    )


@dataclass(frozen=True)
class Layout:
    """Where things are: `base` is the directory's suffix, `homes` the folder of homes.

    In a directory of somebody else `base` is empty: nothing above the entries is ours. There `subtrees` are the distinguished
    names below which people and groups are, in the spelling of `difference.normalise`, and `mark` is this facility's alone.
    `issuer` is whose `sub` the accounts carry; "" writes no `labeledURI` (see `identify`).
    """

    base: str
    homes: str
    shell: str
    mark: str = MARK
    subtrees: tuple[str, str] | None = None
    issuer: str = ""

    @property
    def people(self) -> str:
        return self.subtrees[0] if self.subtrees else f"ou=people,{self.base}"

    @property
    def groups(self) -> str:
        return self.subtrees[1] if self.subtrees else f"ou=groups,{self.base}"


def suffix(domain: str) -> str:
    """`farmlet.test` → `dc=farmlet,dc=test` (RFC 2247)."""
    return ",".join(f"dc={label}" for label in domain.split("."))


def identify(sub: str, issuer: str) -> str:
    """Whose account this is, as motley-cue asks for it (feudalAdapter, UserInfo.unique_id): both percent-encoded."""
    return f"{urllib.parse.quote_plus(sub)}@{urllib.parse.quote_plus(issuer)}"


def entries(accounts: Sequence[Account], layout: Layout, names: Container[str] | None = None) -> dict[str, Attributes]:
    """All entries the directory should hold, parents first; with `names` those of these members and groups alone.

    A suspended member stays with name and number, so that files keep an owner; the account is expired and in no group.
    A removed member is gone from the directory; the number is never given again.
    """
    found: dict[str, Attributes] = _frame(layout) if layout.base and names is None else {}
    members: dict[str, list[str]] = {}
    numbers: dict[str, int] = {}
    for account in accounts:
        if account.state == "removed":
            continue
        if names is None or account.name in names:
            found[f"uid={account.name},{layout.people}"] = _person(account, layout)
            found[f"cn={account.name},{layout.groups}"] = _group(account.name, account.gid, (), layout)
        for name, gid in account.groups.items():
            if names is None or name in names:
                numbers[name] = gid
                if account.active:
                    members.setdefault(name, []).append(account.name)
    for name, gid in numbers.items():
        found[f"cn={name},{layout.groups}"] = _group(name, gid, sorted(members.get(name, ())), layout)
    return found


def _frame(layout: Layout) -> dict[str, Attributes]:
    label = layout.base.split(",")[0].removeprefix("dc=")
    top = {"objectClass": ("dcObject", "organization"), "dc": (label,), "o": (label,), "description": (layout.mark,)}
    units = {
        dn: {"objectClass": ("organizationalUnit",), "ou": (dn.split(",")[0].removeprefix("ou="),), "description": (layout.mark,)}
        for dn in (layout.people, layout.groups)
    }
    return {layout.base: top, **units}


def _person(account: Account, layout: Layout) -> Attributes:
    # an IA5 string whose commas and colons mean something (RFC 2307, passwd(5)): letters keep their base, the rest goes
    plain = unicodedata.normalize("NFKD", account.title).encode("ascii", "ignore").decode()
    # what a person may have typed must not be what a directory refuses (RFC 4517 §3.3.6), or the log shows
    title = " ".join("".join(letter if letter.isprintable() else " " for letter in account.title).split()) or account.name
    gecos = " ".join(re.sub(r"[^ -+\--9;-~]", " ", plain).split()) or account.name
    attributes: dict[str, tuple[str, ...]] = {
        # feudalAdapter, which motley-cue asks, knows persons of RFC 2798 only
        "objectClass": ("inetOrgPerson", "posixAccount", "shadowAccount"),
        "uid": (account.name,),
        "cn": (title,),
        "sn": (title.split()[-1],),
        "gecos": (gecos,),
        "uidNumber": (str(account.uid),),
        "gidNumber": (str(account.gid),),
        "homeDirectory": (f"{layout.homes}/{account.name}",),
        "loginShell": (NO_SHELL if account.service else layout.shell,),
        "description": (f"{layout.mark} {account.sub}",),
    }
    if not account.active:
        attributes["shadowExpire"] = (EXPIRED,)
    elif account.login and layout.issuer:
        # only who may log in now can be found by it, and unlike `description` it tells A from a (RFC 2079)
        attributes["labeledURI"] = (identify(account.sub, layout.issuer),)
    return attributes


def _group(name: str, gid: int, members: Sequence[str], layout: Layout) -> Attributes:
    attributes: dict[str, tuple[str, ...]] = {
        "objectClass": ("posixGroup",),
        "cn": (name,),
        "gidNumber": (str(gid),),
        "description": (layout.mark,),
    }
    if members:
        attributes["memberUid"] = tuple(members)
    return attributes


def list_rows(accounts: Iterable[Account], layout: Layout) -> list[dict[str, Any]]:
    """The item `accounts` for the nodes: {"name", "sub", "uid", "gid", "home", "groups", "state", "login", "sessions",
    "batch", "space", "notebooks", "administer", "left"} each; see Account.
    """
    return [
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
            "space": dict(account.space),
            "notebooks": dict(account.notebooks),
            "administer": account.administer,
            "left": account.left,
        }
        for account in accounts
    ]


def rebuild(row: Mapping[str, Any]) -> Account:
    """Whose row it is, without the rights."""
    name, left = str(row["name"]), int(row.get("left", 0))
    return Account(str(row["sub"]), name, int(row["uid"]), int(row["gid"]), name, str(row["state"]), False, {}, left=left)
