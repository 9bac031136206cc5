"""What a sandbox needs of this host beside its containers: a network, addresses, node images, names in the hosts file."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from farmlet.engine.apply import apply
from farmlet.engine.images import build as images
from farmlet.engine.images import sources, trees
from farmlet.engine.images.wheel import pack
from farmlet.engine.layout import Layout, addresses, free_address
from farmlet.engine.nodes.container import ContainerDriver
from farmlet.engine.nodes.driver import Machine, NodeDriver
from farmlet.engine.nodes.fake import FakeDriver
from farmlet.engine.nodes.local import LocalDriver
from farmlet.engine.nodes.ssh import SshDriver
from farmlet.engine.plan import Change, Target, fingerprint
from farmlet.engine.report import Report
from farmlet.engine.sandbox import docker as engine
from farmlet.engine.sandbox.disk import Disk
from farmlet.engine.sandbox.hosts import Hosts
from farmlet.engine.store import Store
from farmlet.errors import FarmletError, InputError
from farmlet.facility.model import Facility, Node, Site
from farmlet.runtime.files import write

if TYPE_CHECKING:
    from docker import DockerClient

FIRST_BUILD = 200  # last octet of the first build container's address


class Sandbox:
    """The Docker side of one facility. Nothing is asked of Docker unless a node or site is a container.

    `starts`: an engine that does not run is started; `retain`: the build nodes of a failed image build are kept.
    """

    def __init__(self, facility: Facility, store: Store) -> None:
        self.facility, self.store = facility, store
        self.network = f"farmlet-{facility.name}"
        self.hosts = Hosts(facility.name)
        self.disk = Disk(store.path)
        self.starts = self.retain = False

    def contained(self) -> list[str]:
        """Names of the nodes and sites that are containers."""
        both: list[Node | Site] = [*self.facility.nodes.values(), *self.facility.sites.values()]
        return [one.name for one in both if one.connect == "container"]

    @cached_property
    def client(self) -> DockerClient:
        return engine.connect(start=self.starts)

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

    def driver(self, layout: Layout, node: Node) -> NodeDriver:
        """The driver of one node that may have left the file; nothing is made."""
        return self._driver(node, self._container(layout, make=False) if node.connect == "container" else None, FakeDriver())

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
        disk = self.disk.path if state.get("disk") == "" else None
        return ContainerDriver(self.client if make else None, self.facility.name, self.network, given, self.store.key, disk=disk)

    def ensure_disk(self, layout: Layout, report: Report) -> None:
        """Mount the sandbox's disk; a new sandbox that has quotas gets one, if this host can have it."""
        state = self.store.load()
        if state.get("disk") == "":
            self.disk.attach()
        elif "disk" not in state and "addresses" not in state and self._has_rooms(layout):
            fault = ""
            try:
                self.disk.make()
            except FarmletError as error:
                fault = str(error)
                report.say(f"no limits of homes and storage in this sandbox: {fault}")
            self.store.save(disk=fault)

    def _has_rooms(self, layout: Layout) -> bool:
        names = self.contained()
        return any(machine.quotas for name, machine in layout.machines().items() if name in names)

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
            self._note_made(base.key, [keys[name] for name in missing])
            self._build(layout, {name: keys[name] for name in missing}, base, report)
        return {name: images.tag(key) for name, key in keys.items()}

    def _note_made(self, base: str, keys: Sequence[str]) -> None:
        """Remember, before they are made, the images that were not there: they, and no others, are this facility's to remove.

        The base comes last, since it cannot go before what was made of it.
        """
        made: list[str] = self.store.load().get("images", [])
        fresh = [images.tag(key) for key in [*keys, base] if not images.exists(self.client, key)]
        self.store.save(images=list(dict.fromkeys([tag for tag in made if tag not in fresh] + fresh)))

    def _build(self, layout: Layout, keys: Mapping[str, str], base: images.Base, report: Report) -> None:
        with report.phase("base image: a blank Debian 13 node"):
            blank = base.ensure(self.client, lambda text: None)
        driver, machines = self._blanks(keys, blank)
        try:
            targets = self._boot(layout, driver, machines)
            with report.phase(f"node images: install {', '.join(keys)}"):
                self._install(targets, base, driver, report)
            with report.phase("node images: scrub and keep"):
                for name, target in zip(keys, targets, strict=True):
                    target.driver.shell(target.machine).run(["sh", "-ec", images.SCRUB])
                    driver.stop(target.machine)
                    held = trees.list_trees(target.install, base.key)
                    images.commit(self.client, driver.name(target.machine), keys[name], held)
        except BaseException:
            if self.retain:
                report.say("kept: " + ", ".join(driver.name(machine) for machine in machines.values()))
                machines = {}
            raise
        finally:
            for machine in machines.values():
                driver.remove(machine)
            self._known_builds.unlink(missing_ok=True)

    @property
    def _known_builds(self) -> Path:
        """known_hosts of build nodes: a file of their own, for the facility's must never be forgotten."""
        return self.store.path / "known_builds"

    def _blanks(self, keys: Mapping[str, str], blank: str) -> tuple[ContainerDriver, dict[str, Machine]]:
        """Blank nodes to install on, by the name of the node whose image each becomes, and the driver that makes them."""
        state = self.store.load()
        subnet = ipaddress.IPv4Network(state["subnet"])
        given: dict[str, str] = {}
        for name in keys:
            taken = {*given.values(), *state.get("addresses", {}).values()}
            given[f"build-{name}"] = free_address(subnet, FIRST_BUILD, taken)
        driver = ContainerDriver(self.client, self.facility.name, self.network, given, self.store.key, self._known_builds)
        return driver, {name: Machine(f"build-{name}", f"build-{name}.invalid", blank) for name in keys}

    def _boot(self, layout: Layout, driver: ContainerDriver, machines: Mapping[str, Machine]) -> list[Target]:
        for machine in machines.values():
            driver.remove(machine)  # of an `up` that was killed
            driver.ensure(machine)
        lines = [f"{driver.address(machine)} {driver.host_key(machine)}\n" for machine in machines.values()]
        write(self._known_builds, "".join(lines).encode(), 0o600)
        return [Target(machine, driver, layout.install(name), ()) for name, machine in machines.items()]

    def _install(self, targets: list[Target], base: images.Base, driver: ContainerDriver, report: Report) -> None:
        """All that the build nodes shall have, but for the trees that an image has already: those are copied."""
        changes = {}
        for target in targets:
            held = trees.list_trees(target.install, base.key)
            taken = trees.take(self.client, images.REPOSITORY, driver.name(target.machine), held)
            changes[target.name] = [
                Change(target.name, wanted.role, resource, "new", fingerprint(wanted, resource))
                for wanted in target.install
                for resource in wanted.resources
                if trees.find_key(resource.digest, base.key) not in taken
            ]
        apply(targets, changes, {}, pack(), sources.find(self.facility.sources), report.done)

    def ensure_names(self, layout: Layout) -> None:
        """The names of all machines that DNS need not know, in this host's hosts file."""
        names = layout.addressed()
        if names:
            self.hosts.ensure(names)

    def reachable(self) -> bool:
        """Whether Docker objects of this facility can be looked for: there are none to look for, or an engine runs."""
        return not self.contained() or engine.answers()

    def owned(self) -> dict[str, list[Any]]:
        """All Docker objects with this facility's label: also those whose state folder is lost.

        InputError when they belong to a facility of the same name in another folder, which is still there.
        """
        found = engine.owned(self.client, self.facility.name) if self.contained() else {}
        for container in found.get("containers", ()):
            folder = container.labels.get(engine.FOLDER_LABEL, "")
            if folder and folder != str(self.store.path) and Path(folder).exists():
                what = f"runs from another folder: {folder}"
                raise InputError(f"facility {self.facility.name}", what, f"cd {Path(folder).parent.parent}, and repeat it there")
        return found

    def purge(self) -> None:
        """Remove containers, volumes, network, and the images this facility made and no container uses.

        Only what carries this facility's label is touched; images that were there before it stay.
        """
        found = self.owned()
        if not found:
            return
        for container in found["containers"]:
            container.remove(force=True, v=True)
        for volume in found["volumes"]:
            volume.remove(force=True)
        for network in found["networks"]:
            network.remove()
        images.remove(self.client, self.store.load().get("images", ()))
        self.disk.detach()
