"""One facility brought up, looked at, stopped and removed. Each verb converges: killed anywhere, it is simply repeated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from farmlet.engine import leftovers
from farmlet.engine.apply import Sources, apply
from farmlet.engine.images import sources
from farmlet.engine.images.wheel import pack
from farmlet.engine.layout import Layout, StandIn
from farmlet.engine.nodes.driver import SecureShell
from farmlet.engine.plan import Change, Seen, Target, observe
from farmlet.engine.preflight import Busy, check_host, check_nodes
from farmlet.engine.report import Report
from farmlet.engine.sandbox.sandbox import Sandbox
from farmlet.engine.store import Store
from farmlet.errors import Errors, FarmletError, InputError
from farmlet.facility.model import Facility, Node
from farmlet.parts.part import Part, Role, SiteAccess
from farmlet.runtime.files import write

ROUNDS = 4  # a round may reveal a key that another node's configuration waits for
PER_NODE = ("nodes", "addresses", "keys", "drained", "made")  # what the state folder keeps by a node's name


@dataclass(frozen=True)
class Plan:
    """What `up` would do: nodes to be made or started, and changes on those that run."""

    missing: Mapping[str, str]  # node → `absent`, `stopped` or `unreachable`
    changes: tuple[Change, ...]
    resized: Mapping[str, str] = field(default_factory=dict)  # node → what of it is not as wanted, its size or volumes
    left: tuple[str, ...] = ()  # nodes that the file no longer names, which keep `up` from beginning
    away: tuple[str, ...] = ()  # of those missing, hosts that `up` would go on without

    @property
    def empty(self) -> bool:
        return not (self.missing or self.changes or self.resized or self.left)


class Deployment:
    """The engine's view of one facility: its layout, its state folder, the drivers of its nodes."""

    def __init__(
        self, facility: Facility, parts: Mapping[str, Part], standins: Sequence[StandIn], store: Store, report: Report
    ) -> None:
        self.facility, self.store, self.report = facility, store, report
        self.sandbox = Sandbox(facility, store)
        self.layout = Layout(facility, parts, standins, store, drivers={})
        self.away: dict[str, FarmletError] = {}

    def up(self) -> int:
        """Make the facility as its file says; the number of operations it took (0: nothing differed).

        Hosts of an earlier `up` that do not answer stay as they are, and are in `away` with why: the others are not left without
        new certificates because of them. Without the control node nothing is done.
        """
        self.sandbox.starts = True
        check_host(self.layout, self.sandbox)
        with self.store.locked():
            check_nodes(self)
            self.store.ensure_key()
            self.layout.ensure_authorities()
            self._prepare()
            with self.report.phase("nodes"):
                self._ensure_nodes()
            self._converge()
            self.store.save(facility=self.facility.name, wheel=pack().digest)
        return self.report.operations

    def left(self) -> dict[str, Node]:
        """Nodes that an earlier `up` made and the file no longer names."""
        made: dict[str, Any] = self.store.load().get("nodes", {})
        return {name: Node.model_validate(values) for name, values in made.items() if name not in self.facility.nodes}

    def list_busy(self, name: str, roles: Sequence[tuple[str, Role]]) -> list[Busy]:
        """What still runs on a node of these roles (`part.role` → role); nothing where it does not run."""
        commands = [(title, role.leave.busy) for title, role in roles if role.leave]
        if not commands:
            return []
        target = self.target(name)
        if target.driver.state(target.machine) != "running":
            return []
        said = [(title, self.run(name, ["env", f"FARMLET_NODE={name}", "sh", "-ec", command])) for title, command in commands]
        return [Busy(title, line) for title, text in said for line in text.splitlines() if line]

    def forget(self, name: str) -> None:
        """Know nothing of a node any more: the next `up` makes it anew, if the file names it."""
        state = self.store.load()
        kept = {key: {one: value for one, value in state.get(key, {}).items() if one != name} for key in PER_NODE}
        self.store.save(**kept)

    def _prepare(self) -> None:
        """Docker objects and images that the containers of this facility need."""
        self.sandbox.ensure_disk(self.layout, self.report)
        self.layout.drivers = self.sandbox.drivers(self.layout)
        self.layout.images = self.sandbox.ensure_images(self.layout, self.report)

    def _ensure_nodes(self) -> None:
        machines, drivers = self.layout.machines(), self.layout.drivers
        before: dict[str, Any] = self.store.load().get("nodes", {})
        self.store.save(nodes={name: node.model_dump(mode="json") for name, node in self.facility.nodes.items()})
        hosts = [node.name for node in self.facility.nodes.values() if node.connect == "ssh"]
        if hosts:
            self._write_known(hosts)  # a host that exists must be known before the first log-in

        errors: dict[str, FarmletError] = {}
        silent = set()

        def ensure(name: str) -> bool:
            state = drivers[name].state(machines[name])
            as_wanted = state == "running" and not drivers[name].differs(machines[name])
            try:
                drivers[name].ensure(machines[name])
            except FarmletError as error:
                errors[name] = error
                if state == "unreachable":
                    silent.add(name)
            return as_wanted

        with ThreadPoolExecutor(max_workers=8) as pool:
            made = dict(zip(machines, pool.map(ensure, machines), strict=True))
        if fatal := [error for name, error in errors.items() if name not in silent & self._list_spared(before)]:
            raise Errors(fatal)
        self.away = {name: _left_as_it_is(name, error) for name, error in errors.items()}
        self.store.save(nodes=self.store.load()["nodes"] | {name: before[name] for name in self.away})
        self.report.operations += sum(not as_wanted for name, as_wanted in made.items() if name not in self.away)
        self._write_known(self._present())
        self.sandbox.ensure_names(self.layout)

    def _list_spared(self, made: Mapping[str, Any]) -> set[str]:
        """Of the nodes `made` by an earlier `up`, those that this one can do without if they do not answer."""
        return set(made) - {self.facility.controller}

    def _present(self) -> list[str]:
        """The machines that `up` has to do with: all but those that are away."""
        return [name for name in self.layout.machines() if name not in self.away]

    def _write_known(self, names: Sequence[str]) -> None:
        """known_hosts from what the drivers know; never learnt by asking a network that could lie, where they know better."""
        lines = self.store.known.read_text().splitlines() if self.store.known.exists() else []
        known = dict(line.split(" ", 1) for line in lines)
        machines = self.layout.machines()
        for name in names:
            driver = self.layout.drivers[name]
            shell = driver.shell(machines[name])
            port = shell.port if isinstance(shell, SecureShell) else 22
            host = driver.address(machines[name])
            known[host if port == 22 else f"[{host}]:{port}"] = driver.host_key(machines[name])
        write(self.store.known, "".join(f"{host} {key}\n" for host, key in known.items()).encode(), 0o600)

    def _converge(self) -> None:
        """Look, change, look again, until nothing differs: what one node reveals may be what another waits for."""
        seen = self._observe(self._present(), keep=True)
        self._note_made(between=True)
        for _ in range(ROUNDS):
            changes = {name: look.changes for name, look in seen.items() if look.changes}
            if not changes:
                self._note_made()
                return
            count = sum(map(len, changes.values()))
            with self.report.phase(f"configure {', '.join(changes)} ({count} changes)"):
                apply(self._targets, changes, self.layout.authorities(), pack(), self.sources(), self.report.done)
            seen = self._observe(self._present(), keep=True)
        left = [f"{change.node}: {change.resource.label}: {change.reason}" for look in seen.values() for change in look.changes]
        if left:
            what = f"still differs after {ROUNDS} rounds:\n  " + "\n  ".join(left[:10])
            raise FarmletError("up", what, "farmlet plan; farmlet logs")

    def _note_made(self, between: bool = False) -> None:
        """Remember what is on the nodes now, or, `between` two configurations, what may be."""
        before: dict[str, leftovers.Made] = self.store.load().get("made", {})
        after = {one.name: leftovers.list_made(one.configure) for one in self._targets if one.name not in self.away}
        if between:
            after = {name: leftovers.join(before.get(name, {}), made) for name, made in after.items()}
        self.store.save(made=before | after)

    def _target_all(self, keys: Mapping[str, Mapping[str, str]]) -> list[Target]:
        """All targets; what is left on a node of an earlier configuration goes first."""
        made: dict[str, leftovers.Made] = self.store.load().get("made", {})
        return [
            replace(target, configure=(*leftovers.find_left(target.configure, made.get(target.name, {})), *target.configure))
            for target in self.layout.targets(keys, self.sites())
        ]

    def _observe(self, only: Sequence[str] = (), keep: bool = False) -> dict[str, Seen]:
        """Look at all nodes at once; public keys seen on one are known to the others' configuration in the same look.

        With `keep` they are remembered, for a time when that node does not run.
        """
        keys: dict[str, Mapping[str, str]] = {name: dict(found) for name, found in self.store.load().get("keys", {}).items()}
        self._targets = self._target_all(keys)
        seen = self._look(only)
        found = {name: dict(look.keys) for name, look in seen.items() if look.keys}
        if any(keys.get(name) != values for name, values in found.items()):
            if keep:
                self.store.save(keys=keys | found)
            self._targets = self._target_all(keys | found)
            seen = self._look(only)
        return seen

    def _look(self, only: Sequence[str]) -> dict[str, Seen]:
        wanted = [target for target in self._targets if not only or target.name in only]
        with ThreadPoolExecutor(max_workers=8) as pool:
            return dict(zip((target.name for target in wanted), pool.map(observe, wanted), strict=True))

    def sites(self) -> dict[str, SiteAccess]:
        """How each site is reached and what is trusted of it; a stand-in's key is known once it has booted."""
        self.open()
        found = {}
        standins = {standin.site.name: standin for standin in self.layout.standins}
        machines = self.layout.machines()
        for name, site in self.facility.sites.items():
            if name in standins:
                driver, machine = self.layout.drivers[name], machines[name]
                key = driver.host_key(machine) if driver.state(machine) == "running" else ""
                found[name] = standins[name].access(key, self.layout.site_authority(standins[name]).read())
            else:
                found[name] = SiteAccess(name, site.address or "", site.user, site.host_key or "", "")
        return found

    def storages(self) -> dict[str, str]:
        """The URL of each site's storage element, by site; no site is asked."""
        found = {standin.site.name: standin.access("", "").storage for standin in self.layout.standins}
        return {name: url for name, url in found.items() if url}

    def sources(self) -> Sources:
        return sources.find(self.facility.sources)

    def open(self) -> None:
        """Drivers for the nodes as the last `up` left them; nothing is made."""
        if not self.layout.drivers:
            self.layout.drivers = self.sandbox.drivers(self.layout, make=False)

    def plan(self) -> Plan:
        """What `up` would do; touches nothing."""
        if not self.store.exists():
            return Plan(dict.fromkeys(self.layout.names(), "absent"), ())
        left = tuple(self.left())
        self.open()
        machines = self.layout.machines()
        states = {name: self.layout.drivers[name].state(machine) for name, machine in machines.items()}
        missing = {name: state for name, state in states.items() if state != "running"}
        running = [name for name in states if name not in missing]
        seen = self._observe(running) if running else {}
        resized = {name: fault for name in running if (fault := self.layout.drivers[name].differs(machines[name]))}
        spared = self._list_spared(self.store.load().get("nodes", {}))
        away = tuple(name for name, state in missing.items() if state == "unreachable" and name in spared)
        return Plan(missing, tuple(change for look in seen.values() for change in look.changes), resized, left, away)

    def target(self, name: str) -> Target:
        """One node or stand-in site, to run something on it."""
        self.open()
        machines = self.layout.machines()
        if name in machines:
            return Target(machines[name], self.layout.drivers[name], (), ())
        node = self.find(name)
        return Target(self.layout.machine(node), self.sandbox.driver(self.layout, node), (), ())

    def find(self, name: str) -> Node:
        """A node of the file, or one that the file no longer names."""
        known = dict(self.facility.nodes) | self.left()
        if name not in known:
            raise InputError(f"node {name}", "is not in the facility file", f"nodes: {', '.join(known)}")
        return known[name]

    def run(self, name: str, command: Sequence[str], stdin: str = "", timeout: float = 120) -> str:
        """Standard output of a root command on one node."""
        target = self.target(name)
        try:
            return target.driver.shell(target.machine).run(command, stdin, timeout)
        except FarmletError as error:
            error.where = f"node {name}"  # a person knows its name, not the address it was reached by
            raise

    def exists(self) -> bool:
        """Whether there is anything of this facility to remove, even where its state folder is lost."""
        return self.store.exists() or any(self.sandbox.owned().values())

    def down(self, purge: bool = False) -> list[str]:
        """Stop the nodes; with `purge` remove all that `up` made, and nothing else. Names of the hosts that keep running."""
        self.sandbox.starts = purge
        self.sandbox.owned()  # refuses another folder's
        with self.store.locked():
            self.open()
            machines = self.layout.machines()
            with self.report.phase("stop nodes"), ThreadPoolExecutor(max_workers=8) as pool:
                list(pool.map(lambda name: self.layout.drivers[name].stop(machines[name]), machines))
            self.sandbox.hosts.remove()
            if purge:
                with self.report.phase("remove containers, volumes, network, images"):
                    for name, machine in machines.items():
                        self.layout.drivers[name].remove(machine)
                    self.sandbox.purge()
                self.store.remove()
            else:
                self.sandbox.disk.detach()
        return [node.name for node in self.facility.nodes.values() if node.connect in ("ssh", "local")]


def _left_as_it_is(name: str, error: FarmletError) -> FarmletError:
    what = f"{error.what}; it stays as it is, and the others are as the file says"
    return FarmletError(
        f"node {name}", what, f"`farmlet up` once more when it is back; lost for good: `farmlet node remove {name} --lost`"
    )
