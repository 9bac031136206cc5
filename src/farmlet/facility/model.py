"""The facility: what a facility file means once it is read, checked and resolved.

An `…Entry` is what stands in the file; the class without that ending adds what the loader works out. All are frozen
and refuse unknown keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SerializeAsAny, Strict, ValidationInfo, field_validator

from farmlet.errors import FarmletError
from farmlet.facility import names, rights
from farmlet.facility.fields import (
    Address,
    Count,
    HostKey,
    Login,
    Memory,
    Pattern,
    Port,
    Url,
    check_item,
    check_subnet,
    checked,
    fault,
)


@dataclass(frozen=True)
class Route:
    """What of a web service the reverse proxy of its node lets in, by HTTPS.

    `socket`: the unix socket the service answers at, by name (see `units.SOCKETS`). `paths`: as Caddy matches them, `/ssh/*`;
    of those that no other route of the same origin has, a `default` route has all, and the home page `/` before all others.
    `origin`: "" for the node's own name, else the first label of a name of its own, `portal` for `portal.<domain>`: browsers
    keep what belongs to different origins apart. `enter`: `all`, where the service itself asks who comes, or `nodes`, for the
    nodes of the facility only, which the proxy knows by their certificates. `client`: the OAuth client as which the service logs
    people in at our own issuer, which registers it and hands its secret to the node (`places.find_secret`); `back`: the path of
    the origin to which the issuer sends them back. `folder`: there is no service, but files for everybody.
    `cookie`: below `/user/NAME` browsers come in with NAME in this cookie only, which the service sets at the path `claim`; so do
    programs, by a token in their header. What answers there is NAME's to write, and would act as others in their browsers.
    `wide`: the key of its part's section by which the service has all names below its origin as well, and then no cookie; ""
    where the section says no.
    """

    socket: str
    paths: tuple[str, ...] = ()
    default: bool = False
    origin: str = ""
    enter: Literal["all", "nodes"] = "all"
    client: str = ""
    back: str = ""
    folder: str = ""
    cookie: str = ""
    claim: str = ""
    wide: str = ""


@dataclass(frozen=True)
class Issuer:
    """Somebody else's issuer: its URL exactly as its tokens say it, and the group there below which ours are ("": at its top)."""

    url: str
    prefix: str = ""


class Entry(BaseModel):
    """Base of all that stands in the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class FacilityEntry(Entry):
    """`facility:`. `domain` is the DNS domain of all nodes; `subnet` (CIDR) the network of a sandbox's containers."""

    name: Annotated[str, checked(names.check_facility)]
    domain: Annotated[str, checked(names.check_dns)]
    title: Annotated[str, checked(names.check_title)] = ""
    subnet: Annotated[str, checked(check_subnet, "a network is like 172.30.0.0/24")] | None = None


class Sources(Entry):
    """`sources:` where packages come from, instead of what this host is configured for. `ca`: path of a PEM bundle."""

    apt: Url | None = None
    pip: Url | None = None
    npm: Url | None = None
    ca: str | None = None


class Reached(Entry):
    """What nodes and sites share: how they are reached. `host_key`: OpenSSH public key; memory in bytes."""

    connect: Literal["container", "ssh", "local", "fake"]
    address: Address | None = Field(default=None, validate_default=True)
    host_key: HostKey | None = None
    cores: Count | None = None
    memory: Memory | None = None

    @field_validator("address")
    @classmethod
    def _need_address(cls, value: str | None, info: ValidationInfo) -> str | None:
        # a validator of the field, not of the model: it speaks up even when another field is wrong
        if value is None and info.data.get("connect") == "ssh":
            raise fault("is missing, and `connect: ssh` needs it", "add `address: HOST`")
        return value


class NodeEntry(Reached):
    """One of `nodes:`. `runs`: parts and roles as written; `user` is who logs in to deploy."""

    port: Port = 22
    user: Login = "root"
    runs: tuple[Annotated[str, AfterValidator(check_item)], ...] = ()


class Node(NodeEntry):
    """A host of the facility. `roles`: all its roles as `part.role`; `fqdn`: its name in the facility's domain.

    `routes`: its web services, in the order of the roles that have them.
    """

    name: str
    roles: tuple[str, ...] = ()
    fqdn: str
    routes: tuple[Route, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All names that lead to it: its own first, then one for each origin of its web services."""
        domain = self.fqdn.partition(".")[2]
        return (self.fqdn, *dict.fromkeys(f"{route.origin}.{domain}" for route in self.routes if route.origin))

    @property
    def certified(self) -> tuple[str, ...]:
        """`names`, and those of which one stands for many: `*.notebooks.<domain>`."""
        domain = self.fqdn.partition(".")[2]
        return (*self.names, *(f"*.{route.origin}.{domain}" for route in self.routes if route.wide))


class SiteEntry(Reached):
    """One of `sites:`. `kind`: its batch system, `htcondor`. `quota`: the most cores in use at a time (0: none for now);
    `user`: the drones' account."""

    kind: str
    connect: Literal["container", "ssh"]
    user: Login = "drone"
    quota: Annotated[int, Strict(), Field(ge=0)] | None = None


class Site(SiteEntry):
    """An external resource provider."""

    name: str


class Notebooks(Entry):
    """The largest notebook a member may start: cores, and memory in bytes; and how many of them at a time (`servers`)."""

    cores: Count | None = None
    memory: Memory | None = None
    servers: Count | None = None


class Sessions(Entry):
    """What all that runs for one member on one node may use at a time: cores, memory in bytes, processes and threads."""

    cores: Count | None = None
    memory: Memory | None = None
    tasks: Count | None = None


class Batch(Entry):
    """The accounting group's share of the pool, relative to the others'."""

    share: float | None = Field(default=None, gt=0, allow_inf_nan=False)


class Storage(Entry):
    """Path patterns, the same on every storage element. `stage`: bring back from tape, which costs tape time."""

    read: tuple[Pattern, ...] = ()
    write: tuple[Pattern, ...] = ()
    stage: tuple[Pattern, ...] = ()


class GroupEntry(Entry):
    """One of `groups:`. An `optional` group stands in a token only when asked for by name (`wlcg.groups:/lab/alarm`).

    `home`, `scratch`: what a member's folders may hold, where their file system has limits; without `scratch` there is none.
    `publish`: whether software images of a member's own may be shown to all members.
    """

    login: bool = False
    administer: bool = False
    publish: bool = False
    optional: bool = False
    home: Memory | None = None
    scratch: Memory | None = None
    sessions: Sessions = Sessions()
    notebooks: Notebooks = Notebooks()
    batch: Batch = Batch()
    storage: Storage = Storage()


class Group(GroupEntry):
    """A group at `path`, declared on `line` of the file."""

    path: str
    line: int = 0

    @property
    def rights(self) -> rights.GroupRights:
        """Its line of the rights table."""
        values = {right.field: attrgetter(right.key)(self) for right in rights.RIGHTS}
        return rights.GroupRights(optional=self.optional, line=self.line, **values)


class Facility(Entry):
    """A whole facility. `version`: of the file's format; `parts`: each part's section, or its defaults.

    `controller` names the control node. `elsewhere`: the issuer of somebody else that keeps the members, if there is one.
    `folder` is where the file lies, None for the built-in sandbox.
    """

    version: int
    name: str
    title: str
    domain: str
    nodes: Mapping[str, Node]
    controller: str
    groups: Mapping[str, Group] = {}
    sites: Mapping[str, Site] = {}
    parts: Mapping[str, SerializeAsAny[BaseModel]] = {}
    elsewhere: Issuer | None = None
    sources: Sources = Sources()
    subnet: str | None = None
    folder: Path | None = None

    def __hash__(self) -> int:
        # pydantic's would hash the mappings; equal facilities agree in these
        return hash((self.version, self.name, self.domain, self.folder))

    @property
    def rights(self) -> rights.Table:
        """The rights table, in the order of the file."""
        return rights.Table({path: group.rights for path, group in self.groups.items()})

    @property
    def control(self) -> Node:
        """The node that holds what mints and decides."""
        return self.nodes[self.controller]

    @property
    def public_url(self) -> str:
        """The URL of the control node: our own web services are below it."""
        return f"https://{self.control.fqdn}"

    def url(self, origin: str) -> str:
        """The URL of a web service with this origin of its own."""
        return f"https://{origin}.{self.domain}"

    @property
    def external(self) -> bool:
        """Whether somebody else's issuer keeps the members: an INDIGO IAM."""
        return self.elsewhere is not None

    @property
    def issuer(self) -> str:
        """Who issues the tokens that count here: exactly their `iss`, with its trailing slash if it has one."""
        return self.elsewhere.url if self.elsewhere else self.public_url

    def claim(self, path: str) -> str:
        """The group `path` as tokens name it in `wlcg.groups`: `/lab`, or below the prefix at an external issuer."""
        prefix = self.elsewhere.prefix if self.elsewhere else ""
        return f"/{prefix}/{path}" if prefix else f"/{path}"

    def hosts(self, role: str) -> tuple[Node, ...]:
        """The nodes that run `role` (`part.role`), in the order of the file."""
        return tuple(node for node in self.nodes.values() if role in node.roles)

    def has(self, role: str) -> bool:
        """Whether any node runs `role`."""
        return bool(self.hosts(role))

    def host(self, role: str) -> Node:
        """The one node that runs `role`. Raises FarmletError when none or several do."""
        hosts = self.hosts(role)
        part = role.partition(".")[0]
        if not hosts:
            raise FarmletError(f"role {role}", "no node runs it", f"add {part} to `runs` of a node")
        if len(hosts) > 1:
            several = ", ".join(node.name for node in hosts)
            raise FarmletError(f"role {role}", f"one node must run it, not {several}", f"name {role} in `runs` of one")
        return hosts[0]
