"""This host as a run of the tests finds it, and must leave it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from farmlet.engine.images.build import REPOSITORY, Base
from farmlet.engine.sandbox.disk import Disk
from farmlet.engine.sandbox.docker import BASE_LABEL, FOLDER_LABEL, connect, owned
from farmlet.engine.sandbox.hosts import Hosts
from farmlet.engine.store import Store
from once import is_of_a_dead_run

# the facilities that the tests bring up
NAMES = ("test", "harm", "edit", "guest", "bare", "barehost", "taken")
CONTRACT = "contract"  # the facility of the contract tests' nodes


def docker(*words: str) -> str:
    return subprocess.run(["docker", *words], capture_output=True, text=True, check=True).stdout.strip()


# Docker's handle of the host's own network, mounted by the first container there (a test's, see test_3_directory.py)
ENGINES_OWN = "/run/docker/netns/default"


def snapshot() -> dict[str, Any]:
    """What `down --purge` must leave as it was: Docker's objects, mounts, firewall rules, the hosts file."""
    rules = subprocess.run(["iptables-save"], capture_output=True, text=True, check=False).stdout.splitlines()
    # what the contract tests have comes and goes with the process that runs them, or was left by one that was killed
    theirs = {what: {one.id for one in found} for what, found in owned(connect(), CONTRACT).items()}
    bridges = [f"br-{network[:12]}" for network in theirs["networks"]]
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    return {
        "containers": sorted({*docker("ps", "-aq", "--no-trunc").split()} - theirs["containers"]),
        "networks": sorted({*docker("network", "ls", "-q", "--no-trunc").split()} - theirs["networks"]),
        "volumes": sorted({*docker("volume", "ls", "-q").split()} - theirs["volumes"]),
        "images": sorted(
            {*docker("images", "-q", "--no-trunc").split()} - {*docker("images", "-q", "--no-trunc", REPOSITORY).split()}
        ),
        # counters and the time of the dump differ each time; Docker puts its own in another order with each network
        "firewall": sorted(
            line.split("[")[0].strip() for line in rules if not line.startswith("#") and not any(one in line for one in bridges)
        ),
        # disks of tests of single servers, which are beside
        "mounts": sorted(mount for mount in mounts if mount != ENGINES_OWN and "/pytest-of-" not in mount),
        "hosts": Path("/etc/hosts").read_text(),
    }


def sweep() -> None:
    """Remove what a test run that was killed left on this host."""
    client = connect()
    for name in NAMES:
        found = owned(client, name)
        states = [Path(container.labels.get(FOLDER_LABEL, "/")) for container in found["containers"]]
        if not all(is_of_a_dead_run(state) for state in states):
            continue  # somebody's own sandbox, which happens to have that name, or that of a run beside this one
        Hosts(name).remove()  # of whatever facility, the tests would write over it
        for container in found["containers"]:
            container.remove(force=True, v=True)
        # volumes alone are what somebody kept, a network alone is nobody's
        for other in (*(found["volumes"] if states else ()), *found["networks"]):
            other.remove()
        for state in states:
            Disk(state).detach()


# inotify instances that one user may have: a run has up to twelve nodes at a time, and systemd takes some on each
WATCHES = Path("/proc/sys/fs/inotify/max_user_instances")


AGE = "48h"  # of node images that nobody has a container of, when a run begins by removing them


def keep_images(folder: Path, name: str) -> str:
    """The node images that a facility built stay for the next run. The tag that this returns takes their place for its purge."""
    tag = f"{REPOSITORY}:of-{name}"
    docker("tag", f"{REPOSITORY}:{Base().key}", tag)
    Store(folder, name).save(images=[tag])
    return tag


def prepare() -> dict[str, Any]:
    """Before the first container of a run: Docker, the blank node's image, which stays, and what this host looks like."""
    WATCHES.write_text(str(max(1024, int(WATCHES.read_text()))))
    client = connect(start=True)
    sweep()
    docker("image", "prune", "--all", "--force", "--filter", f"label={BASE_LABEL}", "--filter", f"until={AGE}")
    Base().ensure(client, print)
    return snapshot()
