"""What must be true of this host and of the nodes before anything is made or changed.

Everything that is not is told at once, and nothing is touched.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from farmlet.engine.images import build as images
from farmlet.engine.layout import Layout
from farmlet.engine.plan import Target
from farmlet.engine.sandbox import docker as engine
from farmlet.engine.sandbox.sandbox import Sandbox
from farmlet.engine.store import Store, is_root
from farmlet.errors import Errors, FarmletError, InputError
from farmlet.facility.model import Facility, Node
from farmlet.parts.part import Role

GIB = 1 << 30
NEED_BUILD, NEED_RUN = 8 * GIB, 1 * GIB  # measured: images of the default sandbox take 6.2 GB, its containers 0.5, volumes 0.7
# all containers share them; seen: 8 of a node at rest, and more with each member who is logged in
WATCHES, WATCHES_OF_NODE = Path("/proc/sys/fs/inotify/max_user_instances"), 12
TOOLS = {"ssh": "openssh-client", "ssh-keygen": "openssh-client"}
SANDBOX_TOOLS = {"ip": "iproute2", "mmdebstrap": "mmdebstrap"}


@dataclass(frozen=True)
class Busy:
    """Something that still runs on a node, in words, and the role it belongs to."""

    role: str
    what: str


class Known(Protocol):
    """What is known of the nodes of an earlier `up`: a `Deployment`."""

    @property
    def facility(self) -> Facility: ...
    @property
    def layout(self) -> Layout: ...
    @property
    def store(self) -> Store: ...
    def left(self) -> Mapping[str, Node]: ...
    def list_busy(self, name: str, roles: Sequence[tuple[str, Role]]) -> Sequence[Busy]: ...
    def target(self, name: str) -> Target: ...


def check_host(layout: Layout, sandbox: Sandbox) -> None:
    """Raise Errors with every reason why `up` cannot work here."""
    errors: list[FarmletError] = []

    def attempt(check: Callable[[], object]) -> bool:
        try:
            check()
        except FarmletError as error:
            errors.append(error)
            return False
        return True

    connects = {node.connect for node in sandbox.facility.nodes.values()}
    if sandbox.contained() or "local" in connects:
        attempt(_check_root)
    attempt(lambda: _check_tools(TOOLS | SANDBOX_TOOLS if sandbox.contained() else TOOLS))
    if sandbox.contained():
        attempt(engine.check_cgroups)
        names = [name for machine in layout.machines().values() for name in (machine.fqdn, *machine.aliases)]
        attempt(lambda: sandbox.hosts.refuse_taken(dict.fromkeys(names, "")))
        # the first look at Docker connects, or raises; it may start it, which needs root
        if is_root() and attempt(lambda: sandbox.client):
            attempt(lambda: _check_space(layout, sandbox))
            attempt(lambda: _check_names(sandbox))
            attempt(lambda: _check_watches(sandbox))
    if errors:
        raise Errors(errors)


def _check_root() -> None:
    if not is_root():
        raise InputError("this host", "`farmlet up` makes containers and names, which needs root", "sudo farmlet up")


def _check_tools(tools: Mapping[str, str]) -> None:
    missing = sorted({package for tool, package in tools.items() if not shutil.which(tool)})
    if missing:
        raise InputError("this host", f"not installed: {' '.join(missing)}", f"apt-get install {' '.join(missing)}")


def _check_space(layout: Layout, sandbox: Sandbox) -> None:
    base = images.Base(sandbox.facility.sources.apt).key
    keys = [images.content(layout.install(name), base) for name in sandbox.contained()]
    need = NEED_RUN if all(images.exists(sandbox.client, key) for key in keys) else NEED_BUILD
    free = engine.free_bytes(sandbox.client)
    if free < need:
        what = f"{free / GIB:.1f} GiB free where Docker keeps its images; this needs {need / GIB:.0f} GiB"
        raise InputError("this host", what, "make room: `docker image prune`, or move Docker's data-root")


def _check_watches(sandbox: Sandbox) -> None:
    """All containers of a host share what one user may have of inotify: without it systemd's units that watch files fail."""
    found = {container.name for container in engine.owned(sandbox.client, sandbox.facility.name)["containers"]}
    missing = sum(f"farmlet-{sandbox.facility.name}-{name}" not in found for name in sandbox.contained())
    most, used = int(WATCHES.read_text()), engine.count_watches()
    if missing * WATCHES_OF_NODE > most - used:
        what = f"{max(0, most - used)} of {most} inotify instances are left, {missing} more nodes in containers need"
        hint = f"sysctl -w {WATCHES.relative_to('/proc/sys').as_posix().replace('/', '.')}={max(1024, 2 * most)}"
        raise InputError("this host", f"{what} {missing * WATCHES_OF_NODE}", hint)


def _check_names(sandbox: Sandbox) -> None:
    """A container or network of our name that is not ours, or is another folder's facility of the same name."""
    name = sandbox.facility.name
    owned = engine.owned(sandbox.client, name)
    if (owned["containers"] or owned["networks"]) and not sandbox.store.exists():
        what = "a facility of this name runs already, from another folder"
        hint = "give this one another name and domain; if that folder is lost, `farmlet down --purge` removes the rest"
        raise InputError(f"facility {name}", what, hint)
    for network in sandbox.client.networks.list(names=[f"^{sandbox.network}$"]):
        if (network.attrs["Labels"] or {}).get(engine.LABEL) != name:
            raise engine.refuse(f"network {sandbox.network}")
    for container in sandbox.client.containers.list(all=True, ignore_removed=True):
        ours = container.labels.get(engine.LABEL) == name
        if container.name in {f"farmlet-{name}-{one}" for one in sandbox.contained()} and not ours:
            raise engine.refuse(f"container {container.name}")


def check_nodes(deployment: Known) -> None:
    """Raise Errors with every reason why the nodes of an earlier `up` cannot become what the file says."""
    made: dict[str, Any] = deployment.store.load().get("nodes", {})
    before = {name: Node.model_validate(values) for name, values in made.items() if name in deployment.facility.nodes}
    errors = [*_find_left(deployment), *_find_busy(deployment, before), *_find_unfit(deployment, before)]
    if errors:
        raise Errors(errors)


def _find_left(deployment: Known) -> Iterator[FarmletError]:
    """A node that the others forget would go on with its jobs and sessions, and lose them."""
    for name in deployment.left():
        what = "is no longer in the facility file, and its jobs, sessions and credentials are still there"
        yield InputError(f"nodes.{name}", what, f"`farmlet node remove {name}`, or put its lines back")


def _find_busy(deployment: Known, before: Mapping[str, Node]) -> Iterator[FarmletError]:
    """A role that is stopped takes with it what still runs there, as a node would."""
    for name, node in before.items():
        roles = deployment.facility.nodes[name].roles
        gone = [one for one in deployment.layout.roles(node) if one[0] not in roles]
        for busy in deployment.list_busy(name, gone):
            what = f"no longer has {busy.role}, of which something is there still: {busy.what}"
            hint = f"put it back, `farmlet node drain {name}`, and wait for its end"
            yield InputError(f"nodes.{name}.runs", what, hint)


def _find_unfit(deployment: Known, before: Mapping[str, Node]) -> Iterator[FarmletError]:
    """Before images are made for a node that cannot take what is new on it."""
    for target in map(deployment.target, before):
        if error := target.driver.refusal(target.machine):
            yield error
