"""The facility: what a facility file means once it is read, checked and resolved.

An `…Entry` is what stands in the file; the class without that ending adds what the loader works out. All are frozen
and refuse unknown keys.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    AnyHttpUrl,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializeAsAny,
    Strict,
    TypeAdapter,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from farmlet.errors import FarmletError
from farmlet.facility import names, rights, sizes, spread


def fault(what: str, hint: str = "") -> PydanticCustomError:
    """An error of a validator that keeps its hint until the loader tells it."""
    return PydanticCustomError("farmlet", "{what}", {"what": what, "hint": hint})


def checked(check: Callable[[str], str | None], hint: str = "") -> AfterValidator:
    """A `check_` function (what is wrong, or None) as a validator."""

    def validate(text: str) -> str:
        if wrong := check(text):
            raise fault(wrong, hint)
        return text

    return AfterValidator(validate)


def _read_size(value: object) -> object:
    """Bytes from `6G`. A bare number below 1 MiB is a forgotten unit."""
    if isinstance(value, str):
        try:
            value = sizes.parse(value)
        except ValueError as error:
            raise fault(str(error), "give a number and K, M, G or T, e.g. 6G") from error
    if type(value) is int and value < 1 << 20:
        raise fault(f"{value} bytes is less than 1M", "give a unit, e.g. 6G")
    return value


def _check_subnet(text: str) -> str | None:
    try:
        ipaddress.ip_network(text)
    except ValueError as error:
        return str(error)
    return None


def _check_url(text: str) -> str | None:
    try:
        TypeAdapter(AnyHttpUrl).validate_python(text)
        sound = re.fullmatch("[!-~]+", text)  # it becomes a word in a file of apt's
    except ValueError:
        sound = None
    return None if sound else f"{text!r} is not an http or https URL"


def _check_key(text: str) -> str | None:
    words = text.split()
    return (
        None
        if len(words) >= 2 and len(text.splitlines()) == 1 and words[0].startswith(("ssh-", "ecdsa-", "sk-"))
        else "not an OpenSSH public key"
    )


def _check_item(item: str, info: ValidationInfo) -> str:
    """A part or `part.role` of the catalogue; without a catalogue (a model built by hand) anything goes."""
    if not info.context:
        return item
    catalog = info.context["catalog"]
    part, dot, role = item.partition(".")
    if part not in catalog:
        raise fault(f"unknown part {part}", info.context["suggest"](part, catalog))
    roles = [spec.name for spec in catalog[part].roles]
    if dot and role not in roles:
        raise fault(f"part {part} has no role {role!r}", f"its roles: {', '.join(roles)}")
    return item


# `true` and `"2"` are no numbers here: Strict keeps pydantic from reading them as such
Count = Annotated[int, Strict(), Field(ge=1)]
Memory = Annotated[int, Strict(), BeforeValidator(_read_size)]
Port = Annotated[int, Strict(), Field(ge=1, le=65535)]
Address = Annotated[str, checked(names.check_address, "write a host's name or its IP address")]
HostKey = Annotated[str, checked(_check_key, "a line like `ssh-ed25519 AAAA…`, from `ssh-keyscan HOST`")]
Login = Annotated[str, checked(lambda name: None if names.MEMBER.fullmatch(name) else f"{name!r} is no UNIX name")]
Pattern = Annotated[str, checked(rights.check_pattern, "paths are like /data or /users/{user}")]
Url = Annotated[str, checked(_check_url)]


class Entry(BaseModel):
    """Base of all that stands in the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class FacilityEntry(Entry):
    """`facility:`. `domain` is the DNS domain of all nodes; `subnet` (CIDR) the network of a sandbox's containers."""

    name: Annotated[str, checked(names.check_facility)]
    domain: Annotated[str, checked(names.check_dns)]
    title: Annotated[str, checked(names.check_title)] = ""
    subnet: Annotated[str, checked(_check_subnet, "a network is like 172.30.0.0/24")] | None = None


class Sources(Entry):
    """`sources:` where packages come from, instead of what this host is configured for. `ca`: path of a PEM bundle."""

    apt: Url | None = None
    pip: Url | None = None
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
    runs: tuple[Annotated[str, AfterValidator(_check_item)], ...] = ()


class Node(NodeEntry):
    """A host of the facility. `roles`: all its roles as `part.role`; `fqdn`: its name in the facility's domain."""

    name: str
    roles: tuple[str, ...] = ()
    fqdn: str


class SiteEntry(Reached):
    """One of `sites:`. `quota`: the most cores in use at a time (0: none for now); `user`: the drones' account."""

    kind: Literal["htcondor", "slurm"]
    connect: Literal["container", "ssh"]
    user: Login = "drone"
    quota: Annotated[int, Strict(), Field(ge=0)] | None = None


class Site(SiteEntry):
    """An external resource provider."""

    name: str


class Notebooks(Entry):
    """The largest notebook a member may start: cores, and memory in bytes."""

    cores: Count | None = None
    memory: Memory | None = None


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
    """

    login: bool = False
    administer: bool = False
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
        return rights.GroupRights(
            login=self.login,
            administer=self.administer,
            session_cores=self.sessions.cores,
            session_memory=self.sessions.memory,
            session_tasks=self.sessions.tasks,
            home=self.home,
            scratch=self.scratch,
            notebooks_cores=self.notebooks.cores,
            notebooks_memory=self.notebooks.memory,
            batch_share=self.batch.share,
            read=self.storage.read,
            write=self.storage.write,
            stage=self.storage.stage,
            optional=self.optional,
            line=self.line,
        )


class Facility(Entry):
    """A whole facility. `version`: of the file's format; `parts`: each part's section, or its defaults.

    `controller` names the control node; `folder` is where the file lies, None for the built-in sandbox.
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
    def door(self) -> str:
        """The URL of the control node: our own web services are below it."""
        return f"https://{self.control.fqdn}"

    @property
    def external(self) -> bool:
        """Whether somebody else's issuer keeps the members: an INDIGO IAM."""
        return spread.is_external(self.parts)

    @property
    def issuer(self) -> str:
        """Who issues the tokens that count here: exactly their `iss`, with its trailing slash if it has one."""
        return str(getattr(self.parts["identity"], "issuer", "")) if self.external else self.door

    def claim(self, path: str) -> str:
        """The group `path` as tokens name it in `wlcg.groups`: `/lab`, or below the prefix at an external issuer."""
        prefix = getattr(self.parts.get("identity"), "group_prefix", "")
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
