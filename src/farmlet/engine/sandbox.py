"""What a sandbox needs of this host beside its containers: a network, addresses, node images, names in the hosts file."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from functools import cached_property

import docker
import docker.errors

from farmlet.engine import docker as engine
from farmlet.engine import images
from farmlet.engine.apply import apply
from farmlet.engine.hosts import Hosts
from farmlet.engine.layout import Layout, addresses
from farmlet.engine.nodes.container import ContainerDriver
from farmlet.engine.nodes.driver import Machine, NodeDriver
from farmlet.engine.nodes.fake import FakeDriver
from farmlet.engine.nodes.local import LocalDriver
from farmlet.engine.nodes.ssh import SshDriver
from farmlet.engine.plan import Change, Target, fingerprint
from farmlet.engine.report import Report
from farmlet.engine.sources import python
from farmlet.engine.store import Store
from farmlet.engine.wheel import pack
from farmlet.errors import FarmletError
from farmlet.facility.model import Facility, Node, Site

FIRST_BUILD = 200  # last octet of the first build container's address


class Sandbox:
    """The Docker side of one facility. Nothing is asked of Docker unless a node or site is a container."""

    def __init__(self, facility: Facility, store: Store) -> None:
        self.facility, self.store = facility, store
        self.network = f"farmlet-{facility.name}"
        self.hosts = Hosts(facility.name)

    def contained(self) -> list[str]:
        """Names of the nodes and sites that are containers."""
        both: list[Node | Site] = [*self.facility.nodes.values(), *self.facility.sites.values()]
        return [one.name for one in both if one.connect == "container"]

    @cached_property
    def client(self) -> docker.DockerClient:
        return engine.connect(start=True)

    def drivers(self, layout: Layout, make: bool = True) -> Mapping[str, NodeDriver]:
        """A driver for each node and stand-in site; with `make`, the network is made and addresses are given out."""
        container = self._container(layout, make) if self.contained() else None
        fake = FakeDriver()
        found: dict[str, NodeDriver] = {}
        for node in self.facility.nodes.values():
            found[node.name] = self._driver(node, container, fake)
        for standin in layout.standins:
            assert container is not None
            found[standin.site.name] = container
        return found

    def _driver(self, node: Node, container: ContainerDriver | None, fake: FakeDriver) -> NodeDriver:
        if node.connect == "container":
            assert container is not None
            return container
        if node.connect == "ssh":
            return SshDriver(node.address or "", node.port, node.user, self.store.key, self.store.known, node.host_key)
        return LocalDriver() if node.connect == "local" else fake

    def _container(self, layout: Layout, make: bool) -> ContainerDriver:
        state = self.store.load()
        given: dict[str, str] = state.get("addresses", {})
        if make:
            subnet = engine.ensure_network(self.client, self.network, self.facility.name, self.facility.subnet)
            given = addresses(layout.names(), len(self.facility.nodes), subnet, given)
            self.store.save(addresses=given, subnet=str(subnet))
        return ContainerDriver(self.client, self.facility.name, self.network, given, self.store.key)

    def ensure_images(self, layout: Layout, report: Report) -> dict[str, str]:
        """The image of each container, by name; those that are missing are built, all at once."""
        names = self.contained()
        if not names:
            return {}
        base = images.Base(self.facility.sources.apt)
        keys = {name: images.content(layout.install(name), base.key) for name in names}
        machines = layout.machines()
        states = {name: layout.drivers[name].state(machines[name]) for name in names}
        # a container that exists is brought up to date in place; its image is needed only to make it
        missing = [name for name in names if states[name] == "absent" and not images.exists(self.client, keys[name])]
        if missing:
            self._build(layout, {name: keys[name] for name in missing}, base, report)
        return {name: images.tag(key) for name, key in keys.items()}

    def _build(self, layout: Layout, keys: Mapping[str, str], base: images.Base, report: Report) -> None:
        with report.phase("base image: a blank Debian 13 node"):
            blank = base.ensure(self.client, lambda text: None)
        targets, driver = self._blanks(layout, keys, blank)
        try:
            with report.phase(f"node images: install {', '.join(keys)}"):
                self._install(targets, report)
            with report.phase("node images: scrub and keep"):
                for name, target in zip(keys, targets, strict=True):
                    target.driver.shell(target.machine).run(["sh", "-ec", images.SCRUB])
                    driver.stop(target.machine)
                    images.commit(self.client, driver.name(target.machine), keys[name])
        finally:
            for target in targets:
                driver.remove(target.machine)

    def _blanks(self, layout: Layout, keys: Mapping[str, str], blank: str) -> tuple[list[Target], ContainerDriver]:
        """Blank nodes to install on, one for each image that is missing."""
        subnet = ipaddress.IPv4Network(self.store.load()["subnet"])
        machines = [Machine(f"build-{name}", f"build-{name}.invalid", blank) for name in keys]
        given = {
            machine.name: str(subnet.network_address + FIRST_BUILD + index) for index, machine in enumerate(machines)
        }
        driver = ContainerDriver(self.client, self.facility.name, self.network, given, self.store.key)
        targets = []
        for name, machine in zip(keys, machines, strict=True):
            driver.remove(machine)  # of an `up` that was killed
            driver.ensure(machine)
            targets.append(Target(machine, driver, layout.install(name), ()))
        known = "".join(f"{given[machine.name]} {driver.host_key(machine)}\n" for machine in machines)
        self.store.known.write_text(known)
        self.store.known.chmod(0o600)
        return targets, driver

    def _install(self, targets: list[Target], report: Report) -> None:
        changes = {
            target.name: [
                Change(target.name, wanted.role, resource, "new", fingerprint(wanted, resource))
                for wanted in target.install
                for resource in wanted.resources
            ]
            for target in targets
        }
        named = self.facility.sources
        apply(targets, changes, {}, pack(), python(named.pip, named.ca), report.done)

    def ensure_names(self, layout: Layout) -> None:
        """The names of all containers in this host's hosts file."""
        machines = layout.machines()
        names = {machines[name].fqdn: layout.drivers[name].address(machines[name]) for name in self.contained()}
        if names:
            self.hosts.ensure(names)

    def remove_names(self) -> None:
        self.hosts.remove()

    def purge(self) -> None:
        """Remove containers, volumes, network and unused images. Only what carries this facility's label is touched."""
        if not self.contained():
            return
        found = engine.owned(self.client, self.facility.name)
        for container in found["containers"]:
            container.remove(force=True, v=True)
        for volume in found["volumes"]:
            volume.remove(force=True)
        for network in found["networks"]:
            network.remove()
        for tag in images.unused(self.client):
            self._remove_image(tag)

    def _remove_image(self, tag: str) -> None:
        try:
            self.client.images.remove(tag)
        except docker.errors.APIError as error:
            if error.status_code not in (404, 409):  # gone, or another image's base: its own purge takes it
                raise FarmletError(f"image {tag}", f"cannot be removed: {error.explanation}") from error
