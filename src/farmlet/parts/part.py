"""The seam of a part: a name, its section of the facility file, its roles and what must hold when it works.

A part is found through the entry-point group `farmlet.parts`; each entry is a `Part`. A role has two phases (design §3):
`install` (slow; no names, no secrets; becomes the node image) and `configure` (files, units, secrets of one facility).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from farmlet.parts.resources import Resource

if TYPE_CHECKING:
    from pydantic import BaseModel

    from farmlet.facility.catalog import Complaint, Place
    from farmlet.facility.model import Facility, Node

GROUP = "farmlet.parts"
# what opens storage in a token: scopes, as far as the member's rights go; or all groups of the member
STORAGE = "storage.read:/ storage.create:/ storage.modify:/ storage.stage:/"
GROUPS = "wlcg.groups"
CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----\n.*?-----END CERTIFICATE-----\n?", re.DOTALL)


@dataclass(frozen=True)
class SiteAccess:
    """How the facility reaches a site and what it trusts of it: `key` is its SSH host key line, `ca` its CA (PEM)."""

    name: str
    host: str
    user: str
    key: str
    ca: str
    storage: str = ""  # URL of its storage element, e.g. https://tier1.sites.farmlet.test:8443


@dataclass(frozen=True)
class ElementAccess:
    """How members reach a storage element that is not ours: the facility's /data is at `url`/data. `ca`: PEM texts or ""."""

    name: str
    url: str
    audience: str
    scopes: bool  # whether it goes by the scopes of tokens, else by their groups
    ca: str = ""


@dataclass(frozen=True)
class Trust:
    """Public material every node may hold. PEM texts."""

    ca: str  # the facility's authority
    sites: Mapping[str, SiteAccess] = field(default_factory=dict)
    elements: Mapping[str, ElementAccess] = field(default_factory=dict)

    @property
    def authorities(self) -> dict[str, str]:
        """Whom a client of the facility trusts besides the system's own: one certificate each, by a name fit for a file."""
        found = {f"site-{name}": site.ca for name, site in self.sites.items()}
        found |= {f"element-{name}": element.ca for name, element in self.elements.items()}
        single = {"facility": self.ca}
        for name, text in found.items():
            for number, one in enumerate(CERTIFICATE.findall(text), start=1):
                single[name if number == 1 else f"{name}-{number}"] = one
        return single

    @property
    def bundle(self) -> str:
        """The same in one text."""
        return "".join(self.authorities.values())


@dataclass(frozen=True)
class Context:
    """What `configure` is told: the whole facility, the node it writes for, and what that node trusts."""

    facility: Facility
    node: Node
    trust: Trust
    wheel: str  # sha256 of the Farmlet wheel, for resources.Farmlet

    def section(self, part: str) -> Any:
        """The facility file's section of `part` (a pydantic model of that part's config.py)."""
        return self.facility.parts[part]

    @property
    def elements(self) -> list[str]:
        """The audiences of all storage elements the facility knows; of our own and the stand-ins' the URL."""
        own = [f"https://{node.fqdn}:8443" for node in self.facility.hosts("storage.element")]
        sites = [site.storage for site in self.trust.sites.values() if site.storage]
        return own + sites + [element.audience for element in self.trust.elements.values()]

    @property
    def scopes(self) -> str:
        """What a member's token for all of these is asked with. Each element goes by scopes or by groups, so that what has both
        opens no more than its member may anyhow; at an external issuer all go by groups."""
        if self.facility.external:
            return GROUPS
        by_groups = any(not element.scopes for element in self.trust.elements.values())
        return f"{STORAGE} {GROUPS}" if by_groups else STORAGE


@dataclass(frozen=True)
class Check:
    """Something that must hold on a node that has this role; run by the node agent, a function of the standard library.

    `call` is `module:function`; the function takes `args` as keywords and returns its evidence (one line), or raises
    `farmlet.runtime.checks.Failed` with it. `outside`: it is about something that is not the facility's, which may be away
    without keeping `farmlet up` from its end.
    """

    name: str
    call: str
    args: Mapping[str, Any] = field(default_factory=dict)
    outside: bool = False


@dataclass(frozen=True)
class Leave:
    """How a node is emptied of a role, by root shell commands that may be repeated.

    `close`: take nothing new (`$FARMLET_NODE` is the node's name); what runs goes on. `open`: the opposite. `busy`: print what
    still runs, one line of words for each thing; nothing when there is nothing.
    """

    close: str = "true"
    open: str = "true"
    busy: str = "true"


@dataclass(frozen=True)
class Role:
    """One of the things a part runs on a node.

    `place`: where a part named without role puts it (design §7): on the `control` node, on the nodes that name it
    (`members`), on `every` node, or nowhere unless the role itself is `named`. `with_role`: it goes wherever that role is.
    `ports`: TCP ports that others reach. `data`: paths that hold what cannot be made again (backup, purge on hosts);
    `shares`: such paths that are one and the same on all nodes of the role, by a file server, or in a sandbox by one
    volume. `rooms`: those of both whose folders are kept to sizes, for which a sandbox has a file system that can.
    `publishes`: a path whose content other nodes and the sites read too; in a sandbox a shared volume stands in for what
    distributes it in production (CVMFS).
    `forget`: a root shell command after which the role trusts no key of the issuer that it had kept, and holds no token
    signed by one; `rotate issuer --now` runs it. Roles that forget within a minute by themselves need none.
    `leave`: how a node is emptied of it, so that afterwards its `data` is missed by nobody; what has data and no such way
    keeps its node in the facility.
    """

    name: str
    place: Place
    configure: Callable[[Context], Sequence[Resource]]
    install: Callable[[], Sequence[Resource]] = tuple
    checks: Callable[[Context], Sequence[Check]] = lambda context: ()
    ports: tuple[int, ...] = ()
    data: tuple[str, ...] = ()
    shares: tuple[str, ...] = ()
    rooms: tuple[str, ...] = ()
    publishes: str = ""
    with_role: str | None = None
    forget: str = ""
    leave: Leave | None = None


@dataclass(frozen=True)
class Part:
    """A service of the facility. `needs` names the parts whose resources come first on a node that has both.

    `elements`: the storage elements that are not the facility's own, by name, as this part's section tells of them.
    `judge`: what of the whole facility it cannot do with, told as `validate` tells all else; `find_lack` is one such thing.
    """

    name: str
    summary: str
    roles: tuple[Role, ...]
    section: type[BaseModel] | None = None
    needs: tuple[str, ...] = ()
    elements: Callable[[Facility], Mapping[str, ElementAccess]] = lambda facility: {}
    judge: Callable[[Facility], Iterable[Complaint]] = lambda facility: ()

    def role(self, name: str) -> Role:
        return next(role for role in self.roles if role.name == name)


def find_lack(facility: Facility, roles: Sequence[str], wanted: str) -> Iterator[Complaint]:
    """That no node runs the role `wanted`, without which none of the `roles` can be (all as `part.role`)."""
    found = [(role, node) for role in roles for node in facility.hosts(role)]
    if found and not facility.has(wanted):
        role, node = found[0]
        part = wanted.partition(".")[0]
        yield ("nodes", node.name, "runs"), f"{role} needs {wanted}, which no node runs", f"add `{part}` to `runs` of a node"


def find() -> dict[str, Part]:
    """All installed parts by name, each after the parts it needs."""
    loaded = {entry.name: entry.load() for entry in entry_points(group=GROUP)}
    ordered: dict[str, Part] = {}

    def visit(name: str) -> None:
        for need in loaded[name].needs:
            if need in loaded and need not in ordered:
                visit(need)
        ordered.setdefault(name, loaded[name])

    for name in sorted(loaded):
        visit(name)
    return ordered
