"""From a facility to targets: which driver makes each node, what every role wants there, what the stand-in sites want."""

from __future__ import annotations

import ipaddress
from collections.abc import Container, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Protocol

from farmlet.engine.authority import Authority
from farmlet.engine.images.wheel import pack
from farmlet.engine.nodes.driver import Machine, NodeDriver
from farmlet.engine.plan import Target
from farmlet.engine.sandbox import hosts
from farmlet.engine.store import Store
from farmlet.errors import FarmletError, InputError
from farmlet.facility.model import Facility, Node, Site
from farmlet.parts import tasks
from farmlet.parts.part import Context, ElementAccess, Part, Role, SiteAccess, Trust
from farmlet.parts.resources import Certificate, Command, File, Resource, Wanted

CHECKS = f"{tasks.FOLDER}/checks.json"
METRICS = f"{tasks.FOLDER}/metrics.json"
CERTIFICATES = f"{tasks.FOLDER}/certificates.json"
FIRST_NODE, FIRST_SITE = 10, 100  # last octets of a sandbox's addresses


@dataclass(frozen=True)
class View:
    """What a stand-in site may know of the facility, as a real site would: its issuer, its authority, the drones' public keys."""

    facility: Facility
    ca: str  # PEM of the facility's authority
    own: str  # PEM of the site's own authority
    keys: Mapping[str, Mapping[str, str]]  # node → path → public key


class StandIn(Protocol):
    """A site in a container beside the sandbox, that is not part of the facility."""

    @property
    def site(self) -> Site: ...
    @property
    def fqdn(self) -> str: ...
    @property
    def mounts(self) -> tuple[str, ...]:
        """Published paths it reads (see `Role.publishes`)."""
        ...

    def access(self, key: str, ca: str) -> SiteAccess:
        """How the facility reaches it."""
        ...

    def install(self) -> Sequence[Resource]: ...
    def configure(self, view: View) -> Sequence[Resource]: ...


@dataclass
class Layout:
    """All targets of one facility. `drivers`: node or site name → driver; `images`: the same → image tag."""

    facility: Facility
    parts: Mapping[str, Part]
    standins: Sequence[StandIn]
    store: Store
    drivers: Mapping[str, NodeDriver]
    images: Mapping[str, str] = field(default_factory=dict)
    external: set[str] = field(default_factory=set)  # checks of what is not the facility's, as far as seen by `targets`
    after: dict[str, tuple[str, ...]] = field(default_factory=dict)  # check → those without which it cannot hold, likewise
    by_hand: set[str] = field(default_factory=set)  # checks that wait for a person, likewise

    def machines(self) -> dict[str, Machine]:
        """Every machine by name, stand-in sites last."""
        published = self._published()
        found = {node.name: self.machine(node) for node in self.facility.nodes.values()}
        for standin in self.standins:
            site = standin.site
            shared = tuple((_volume(path), path, "ro") for path in standin.mounts if path in published)
            image = self.images.get(site.name, "")
            found[site.name] = Machine(site.name, standin.fqdn, image, site.cores, site.memory, shared=shared)
        return found

    def _published(self) -> dict[str, str]:
        """Published path → who writes it."""
        nodes = self.facility.nodes.values()
        return {role.publishes: node.name for node in nodes for _, role in self.roles(node) if role.publishes}

    def machine(self, node: Node) -> Machine:
        """A node as its driver knows it; also one that the file no longer names."""
        roles = [role for _, role in self.roles(node)]
        data = dict.fromkeys(path for role in roles for path in role.data)
        shared = {path: "rw" if owner == node.name else "ro" for path, owner in self._published().items()}
        shared |= {path: "rw" for role in roles for path in role.shares}
        volumes = tuple((_volume(path), path, mode) for path, mode in shared.items())
        quotas = frozenset(path for role in roles for path in role.quotas)
        image = self.images.get(node.name, "")
        size = (node.cores, node.memory)
        return Machine(node.name, node.fqdn, image, *size, tuple(data), volumes, quotas, aliases=node.names[1:])

    def roles(self, node: Node) -> list[tuple[str, Role]]:
        """The node's roles as (`part.role`, role), in the order of the parts' needs."""
        return [
            (f"{part.name}.{role.name}", role)
            for part in self.parts.values()
            for role in part.roles
            if f"{part.name}.{role.name}" in node.roles
        ]

    def install(self, name: str) -> tuple[Wanted, ...]:
        """What the image of a node or stand-in site holds: no names, no secrets."""
        for standin in self.standins:
            if standin.site.name == name:
                return (Wanted("site.install", tuple(standin.install())),)
        roles = self.roles(self.facility.nodes[name])
        return tuple(Wanted(f"{title}.install", tuple(role.install())) for title, role in roles)

    def targets(self, keys: Mapping[str, Mapping[str, str]], sites: Mapping[str, SiteAccess]) -> list[Target]:
        """Every machine with all it should have, given the public keys and sites seen so far."""
        authority = self.authority()
        trust = Trust(authority.read(), sites, self.elements(), authority.read_list())
        machines = self.machines()
        found = [self._target(machines[node.name], node, trust) for node in self.facility.nodes.values()]
        for standin in self.standins:
            name = standin.site.name
            own = self.site_authority(standin).read()
            wanted = Wanted("site", tuple(standin.configure(View(self.facility, trust.ca, own, keys))))
            found.append(Target(machines[name], self.drivers[name], self.install(name), (wanted,), own))
        return found

    def _target(self, machine: Machine, node: Node, trust: Trust) -> Target:
        context = Context(self.facility, node, trust, pack().digest, self.logins())
        wanted: list[Wanted] = self._names(node)
        checks: dict[str, dict[str, object]] = {}  # by name: roles of one part may share a check
        for title, role in self.roles(node):
            wanted.append(Wanted(title, tuple(role.configure(context))))
            for check in role.checks(context):
                checks[check.name] = {"name": check.name, "call": check.call, "args": check.args, "seconds": check.seconds}
                self.external |= {check.name} if check.external else set()
                self.by_hand |= {check.name} if check.by_hand else set()
                self.after[check.name] = check.after
        listing = File.of_json(CHECKS, {"checks": list(checks.values())}, 0o600)
        wanted.append(Wanted("engine.checks", (listing,)))
        wanted += _list_certificates(wanted)
        wanted += self._metrics(context)
        return Target(machine, self.drivers[node.name], self.install(node.name), tuple(wanted), trust.ca)

    def _metrics(self, context: Context) -> list[Wanted]:
        """The node's metrics, by name, for its agent."""
        found = {metric.name: metric for _, role in self.roles(context.node) for metric in role.metrics(context)}
        if not found:
            return []
        listing = File.of_json(METRICS, {"metrics": [asdict(metric) for metric in found.values()]}, 0o600)
        return [Wanted("engine.metrics", (listing,))]

    def logins(self) -> dict[str, str]:
        """The audiences that open a log-in at any node, each with its words."""
        found = [role.logins(self.facility, node) for node in self.facility.nodes.values() for _, role in self.roles(node)]
        return {audience: words for some in found for audience, words in some.items()}

    def elements(self) -> dict[str, ElementAccess]:
        """The storage elements that are not the facility's own, by name."""
        return {name: one for part in self.parts.values() for name, one in part.elements(self.facility).items()}

    def addressed(self) -> dict[str, str]:
        """Name → IP address for all names of every machine that has a known one: containers, and hosts that the file names by
        address."""
        connects = {name: one.connect for name, one in (*self.facility.nodes.items(), *self.facility.sites.items())}
        found: dict[str, str] = {}
        for name, machine in self.machines().items():
            if connects[name] in ("container", "ssh"):
                with suppress(FarmletError, ValueError):  # new in the file; a DNS name
                    address = str(ipaddress.ip_address(self.drivers[name].address(machine)))
                    found |= dict.fromkeys((machine.fqdn, *machine.aliases), address)
        return found

    def _names(self, node: Node) -> list[Wanted]:
        """Docker's DNS knows containers only, and a network's DNS no host that is named by its address: with such hosts,
        the names of all machines stand in each node's hosts file."""
        known = self.addressed()
        if node.connect not in ("container", "ssh") or not any(
            one.connect == "ssh" and one.fqdn in known for one in self.facility.nodes.values()
        ):
            return []
        run, unless = hosts.script(self.facility.name, known)
        return [Wanted("engine.names", (Command("names of all machines", run, unless),))]

    def ensure_authorities(self) -> None:
        for authority in (self.authority(), *(self.site_authority(standin) for standin in self.standins)):
            authority.ensure()

    def authority(self) -> Authority:
        """Its name has the domain in it: elsewhere authorities are found by their names, and facilities may have one title."""
        domain = self.facility.domain
        return Authority(self.store.path, "ca", domain, f"{domain}: {self.facility.title or self.facility.name} authority")

    def site_authority(self, standin: StandIn) -> Authority:
        return Authority(
            self.store.path, f"site-{standin.site.name}", standin.fqdn, f"Stand-in site {standin.site.name} authority"
        )

    def authorities(self) -> dict[str, Authority]:
        """Who signs for each machine."""
        found = dict.fromkeys(self.facility.nodes, self.authority())
        return found | {standin.site.name: self.site_authority(standin) for standin in self.standins}

    def names(self) -> list[str]:
        return [*self.facility.nodes, *(standin.site.name for standin in self.standins)]


def _list_certificates(wanted: Sequence[Wanted]) -> list[Wanted]:
    """The certificates that the node's agent renews by itself."""
    found = [one for role in wanted for one in role.resources if isinstance(one, Certificate) and not one.signs]
    rows = [{name: getattr(one, name) for name in ("path", "key", "names", "client", "reload")} for one in found]
    return [Wanted("engine.certificates", (File.of_json(CERTIFICATES, {"renew": rows}, 0o600),))] if rows else []


def _volume(path: str) -> str:
    return "shared-" + path.strip("/").replace("/", "-")


def addresses(layout_names: Sequence[str], nodes: int, subnet: ipaddress.IPv4Network, kept: Mapping[str, str]) -> dict[str, str]:
    """A fixed address of `subnet` for each machine: those of `kept` (earlier runs) stay, new ones get the next free."""
    found = {name: address for name, address in kept.items() if ipaddress.IPv4Address(address) in subnet}
    for index, name in enumerate(layout_names):
        if name not in found:
            found[name] = free_address(subnet, FIRST_NODE if index < nodes else FIRST_SITE, found.values())
    return found


def free_address(subnet: ipaddress.IPv4Network, first: int, taken: Container[str]) -> str:
    """The next free address from the `first` on, then from the start; the network's first host is the gateway."""
    last = subnet.num_addresses - 1  # broadcast
    for offset in (*range(first, last), *range(2, min(first, last))):
        candidate = str(subnet.network_address + offset)
        if candidate not in taken:
            return candidate
    raise InputError("facility.subnet", f"{subnet} is too small for all machines", "name a larger one: `subnet: 10.214.7.0/24`")
