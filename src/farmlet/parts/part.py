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

from farmlet.facility import scopes
from farmlet.parts.backup import Backup
from farmlet.parts.resources import Resource
from farmlet.runtime.issuer.logins import ANY

if TYPE_CHECKING:
    from pydantic import BaseModel

    from farmlet.facility.catalog import Issue, Place
    from farmlet.facility.model import Facility, Issuer, Node, Route

GROUP = "farmlet.parts"
AGENT = "base.agent"  # what runs every node's checks, and is told of where nothing comes from it
# what opens storage in a token: scopes, as far as the member's rights go; or all groups of the member
STORAGE = " ".join(scopes.STORAGE)
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
    """How members reach a storage element that is not ours: the facility's /data is at `url`/data. `ca`: PEM texts or "".

    `kind`: what software it is. `keeps_keys`: seconds for which that goes by the issuer's keys that it has; `afresh`: how its
    admin has it ask for them at once.
    """

    name: str
    url: str
    audience: str
    scopes: bool  # whether it goes by the scopes of tokens, else by their groups
    ca: str = ""
    kind: str = "xrootd"
    keeps_keys: int = 600
    afresh: str = "restarts its server with an empty cache"


@dataclass(frozen=True)
class Trust:
    """Public material every node may hold. PEM texts."""

    ca: str  # the facility's authority
    sites: Mapping[str, SiteAccess] = field(default_factory=dict)
    elements: Mapping[str, ElementAccess] = field(default_factory=dict)
    revoked: str = ""  # the list of what the facility's authority has revoked

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
    logins: Mapping[str, str] = field(default_factory=dict)  # what the roles of all nodes say in `Role.logins`

    def section(self, part: str) -> Any:
        """The facility file's section of `part` (a pydantic model of that part's config.py)."""
        return self.facility.parts[part]

    @property
    def elements(self) -> list[str]:
        """The audiences of all storage elements the facility knows; of our own and the stand-ins' the URL."""
        return self._near + [element.audience for element in self.trust.elements.values()]

    @property
    def addresses(self) -> list[str]:
        """The URLs of the same elements."""
        return self._near + [element.url for element in self.trust.elements.values()]

    @property
    def _near(self) -> list[str]:
        own = [f"https://{node.fqdn}:8443" for node in self.facility.hosts("storage.element")]
        return own + [site.storage for site in self.trust.sites.values() if site.storage]

    @property
    def login_clients(self) -> list[str] | None:
        """Whose tokens open a log-in, for whatever logs members in by a token (`runtime.issuer.logins`); None with our own
        issuer, which gives the audience of a log-in to nobody else."""
        if not self.facility.external:
            return None
        access = self.section("access")
        if ANY in access.login_clients:
            return [ANY]
        return [client for client in dict.fromkeys((access.client, *access.login_clients)) if client]

    @property
    def scopes(self) -> str:
        """What a member's token for all of these is asked with. Each element goes by scopes or by groups, so that what has both
        opens no more than its member may anyhow; at an external issuer all go by groups, and those that open storage are asked
        for by name besides: there an administrator may have labelled one as optional."""
        if self.facility.external:
            groups = self.facility.groups.items()
            named = [self.facility.claim(path) for path, one in groups if not one.optional and any(dict(one.storage).values())]
            return " ".join([GROUPS, *(f"{GROUPS}:{name}" for name in named)])
        by_groups = any(not element.scopes for element in self.trust.elements.values())
        return f"{STORAGE} {GROUPS}" if by_groups else STORAGE


@dataclass(frozen=True)
class Check:
    """Something that must hold on a node that has this role; run by the node agent, a function of the standard library.

    `call` is `module:function`; the function takes `args` as keywords and returns its evidence (one line), or raises
    `farmlet.runtime.checks.Failed` with it. `external`: it is about something that is not the facility's, which may be away
    without keeping `farmlet up` from its end. `after`: checks, of this or another node, without which this one cannot hold: while
    one of them fails, `up` tells that one alone. `seconds`: its own deadline, after which it has failed. `by_hand`: where it
    fails, a person has to do something: `up` says that at once and alone.
    """

    name: str
    call: str
    args: Mapping[str, Any] = field(default_factory=dict)
    external: bool = False
    after: tuple[str, ...] = ()
    seconds: float = 10.0
    by_hand: bool = False

    @classmethod
    def of_unit(cls, name: str, unit: str) -> Check:
        """That a unit of systemd runs."""
        return cls(name, "farmlet.runtime.checks:check_unit", {"unit": unit})


@dataclass(frozen=True)
class Metric:
    """Numbers of a node that has this role; gathered by the node agent beside its checks, by a function of the standard library.

    `call` is `module:function`; the function takes `args` as keywords and returns `farmlet.runtime.metrics.Sample`s. `name` is
    the metric's alone on a node, like `batch.jobs`. `watch`: a file; as soon as that is another or newer, it counts again.
    """

    name: str
    call: str
    args: Mapping[str, Any] = field(default_factory=dict)
    watch: str = ""


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
    (`members`), on `every` node, nowhere unless the role itself is `named`, or where other roles have `routes`. `with_role`:
    it goes wherever that role is.
    `ports`: TCP ports that others reach. `routes`: its web services, which others reach by the reverse proxy of its node.
    `endpoints`: where it answers on a node, name → URL, as `farmlet status` shows it; of several that give one name the first
    in the file is meant.
    `logins`: the audiences of tokens by which a member logs in at a node, each with the words for it on the page where they
    allow it ("log in by SSH as you"): only a client that names such a one in its registration ever has it.
    `data`: paths that hold what cannot be made again (backup, purge on hosts); `shares`: such paths that are one and the same
    on all nodes of the role, by a file server, or in a sandbox by one volume. `quotas`: those of both whose folders are kept to
    sizes, for which a sandbox has a file system that can.
    `publishes`: a path whose content other nodes and the sites read too; in a sandbox a shared volume stands in for what
    distributes it in production (CVMFS).
    `forget`: a root shell command after which the role trusts no key of the issuer that it had kept, and holds no token
    signed by one; `rotate issuer --now` runs it. Roles that forget within a minute by themselves need none.
    `backup`: how its `data` and `shares` are saved, or in words why they are not.
    `images`: the container images that it runs, by the names under which they are published (`places.find_image`).
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
    quotas: tuple[str, ...] = ()
    publishes: str = ""
    with_role: str | None = None
    forget: str = ""
    leave: Leave | None = None
    routes: tuple[Route, ...] = ()
    endpoints: Callable[[Facility, Node], Mapping[str, str]] = lambda facility, node: {}
    logins: Callable[[Facility, Node], Mapping[str, str]] = lambda facility, node: {}
    metrics: Callable[[Context], Sequence[Metric]] = lambda context: ()
    backup: Backup | str = ""
    images: Callable[[Facility], Sequence[str]] = lambda facility: ()


@dataclass(frozen=True)
class Part:
    """A service of the facility. `needs` names the parts whose resources come first on a node that has both.

    `elements`: the storage elements that are not the facility's own, by name, as this part's section tells of them.
    `implicit`: every node has it unasked. `decides`: its rank among the parts whose node is the control node (1 first). `shell`:
    members run code on the nodes that list it. `issuer`: somebody else's, that its section names in the part's stead.
    `validate`: what is wrong with the whole facility as the part sees it; `farmlet validate` prints it; see `find_lack`.
    `note`: what is right and still to be known, in sentences that `farmlet validate` and `farmlet status` print.
    """

    name: str
    summary: str
    roles: tuple[Role, ...]
    section: type[BaseModel] | None = None
    needs: tuple[str, ...] = ()
    elements: Callable[[Facility], Mapping[str, ElementAccess]] = lambda facility: {}
    validate: Callable[[Facility], Iterable[Issue]] = lambda facility: ()
    note: Callable[[Facility], Iterable[str]] = lambda facility: ()
    implicit: bool = False
    decides: int = 0
    shell: bool = False
    issuer: Callable[[Any], Issuer | None] = lambda section: None

    def role(self, name: str) -> Role:
        return next(role for role in self.roles if role.name == name)


def find_lack(facility: Facility, roles: Sequence[str], wanted: str) -> Iterator[Issue]:
    """That no node runs the role `wanted`, without which none of the `roles` can be (all as `part.role`)."""
    found = [(role, node) for role in roles for node in facility.hosts(role)]
    if found and not facility.has(wanted):
        role, node = found[0]
        part = wanted.partition(".")[0]
        yield ("nodes", node.name, "runs"), f"{role} needs {wanted}, which no node runs", f"add `{part}` to `runs` of a node"


def find_notes(facility: Facility, parts: Mapping[str, Part]) -> list[str]:
    """What the parts say of a facility that is right as it is (`Part.note`)."""
    return [note for part in parts.values() for note in part.note(facility)]


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
