"""The Docker engine of this host: found or started, and the few objects a sandbox makes, all found again by label."""

from __future__ import annotations

import ipaddress
import os
import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from farmlet.errors import FarmletError, InputError

if TYPE_CHECKING:  # its import takes most of a second, and many commands need no Docker
    from docker import DockerClient

LABEL = "farmlet.facility"
FOLDER_LABEL = "farmlet.state"  # of a container: the state folder of the facility it belongs to
BASE_LABEL = "farmlet.image"
START_SECONDS = 60
SUBNETS = tuple(ipaddress.IPv4Network("10.213.0.0/16").subnets(new_prefix=24))


def connect(start: bool = False) -> DockerClient:
    """A client of the engine; with `start`, an installed engine that does not run is started (no systemd needed)."""
    client = _client()
    if client is None and start:
        if not shutil.which("dockerd"):
            raise InputError("docker", "the Docker engine is not installed", "apt-get install docker.io, or run `make setup`")
        _start()
        client = _client()
    if client is None:
        raise InputError(
            "docker", "the Docker engine does not answer", "start it: `systemctl start docker`, or run `farmlet up` as root"
        )
    return client


def answers() -> bool:
    """Whether an engine runs here, without starting one."""
    return _client() is not None


def _client() -> DockerClient | None:
    import docker
    import docker.errors

    try:
        client = docker.from_env(timeout=300)
        client.ping()
    except (docker.errors.DockerException, OSError):
        return None
    return client


def _start() -> None:
    """systemd, then the init script, then the daemon itself in a session of its own."""
    attempts = [["service", "docker", "start"]]
    if Path("/run/systemd/system").is_dir():
        attempts.insert(0, ["systemctl", "start", "docker"])
    for command in attempts:
        subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        if _answers(8):
            return
    log = Path("/var/log/dockerd.log")
    with log.open("ab") as stream:
        subprocess.Popen(["dockerd"], stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, start_new_session=True)
    if not _answers(START_SECONDS):
        tail = "\n  ".join(log.read_text(errors="replace").splitlines()[-5:])
        raise FarmletError("docker", f"the engine does not start:\n  {tail}", f"see {log}")


def _answers(seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if _client() is not None:
            return True
        time.sleep(0.5)
    return False


def check_cgroups() -> None:
    """Raises InputError for a host that has none for its containers."""
    root = Path("/sys/fs/cgroup")
    if not ((root / "cgroup.controllers").exists() or (root / "memory").is_dir()):  # v2; hybrid or v1
        raise InputError(
            "this host", "its /sys/fs/cgroup is neither cgroup v1, hybrid nor v2", "mount cgroups, or use `connect: ssh` nodes"
        )


def refuse(what: str) -> InputError:
    """That something of somebody else's has the name of ours."""
    return InputError(what, "exists already and is not ours", "rename the facility (facility.name)")


def ensure_network(client: DockerClient, name: str, facility: str, subnet: str | None) -> ipaddress.IPv4Network:
    """The bridge network of one facility, on `subnet` or the first free one; its subnet is the answer."""
    found = client.networks.list(names=[f"^{name}$"])
    if found:
        if (found[0].attrs["Labels"] or {}).get(LABEL) != facility:
            raise refuse(f"network {name}")
        subnets = _subnets(found[0])
        if not subnets:
            raise InputError(f"network {name}", "has no IPv4 subnet", f"remove it: docker network rm {name}")
        return subnets[0]
    taken = _taken(client)
    for candidate in [ipaddress.IPv4Network(subnet)] if subnet else SUBNETS:
        if not any(candidate.overlaps(other) for other in taken) and _make_network(client, name, facility, candidate):
            return candidate
    raise InputError(
        "facility.subnet",
        f"{subnet or 'every subnet of 10.213.0.0/16'} is in use on this host",
        "name a free one: `subnet: 10.214.7.0/24`",
    )


def _make_network(client: DockerClient, name: str, facility: str, subnet: ipaddress.IPv4Network) -> bool:
    """Whether it could be made: another facility may have taken the subnet this very moment."""
    from docker.errors import APIError
    from docker.types import IPAMConfig, IPAMPool

    pool = IPAMConfig(pool_configs=[IPAMPool(subnet=str(subnet))])
    try:
        client.networks.create(name, driver="bridge", ipam=pool, labels={LABEL: facility})
    except APIError as error:
        if "overlaps" not in str(error.explanation):
            raise FarmletError(f"network {name}", f"cannot be made: {error.explanation}", "see Docker's log") from error
        return False
    return True


def _subnets(network: Any) -> list[ipaddress.IPv4Network]:
    configs = network.attrs["IPAM"]["Config"] or []
    return [ipaddress.IPv4Network(config["Subnet"]) for config in configs if ":" not in config.get("Subnet", ":")]


def _taken(client: DockerClient) -> list[ipaddress.IPv4Network]:
    """Networks Docker has and routes the host has."""
    nets = [subnet for network in client.networks.list() for subnet in _subnets(network)]
    routes = subprocess.run(["ip", "-4", "route"], capture_output=True, text=True, check=False).stdout.splitlines()
    words = [line.split()[0] for line in routes if line and line[0].isdigit()]
    return nets + [ipaddress.IPv4Network(word, strict=False) for word in words]


def owned(client: DockerClient, facility: str) -> dict[str, list[Any]]:
    """All Docker objects of one facility, by its label."""
    label: dict[str, Any] = {"label": f"{LABEL}={facility}"}
    return {
        "containers": client.containers.list(all=True, filters=label, ignore_removed=True),
        "networks": client.networks.list(filters=label),
        "volumes": client.volumes.list(filters=label),
    }


def count_watches() -> int:
    """How many inotify instances processes of this host have open."""
    count = 0
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):  # it is closed again, or its process has ended
            count += str(descriptor.readlink()) == "anon_inode:inotify"
    return count


def free_bytes(client: DockerClient) -> int:
    """Free space where the engine keeps its images."""
    root = Path(client.info()["DockerRootDir"])
    while not root.exists():
        root = root.parent
    info = os.statvfs(root)
    return info.f_bavail * info.f_frsize
