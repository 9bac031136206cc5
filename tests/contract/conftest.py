"""A blank node in a container, on a network of its own, for the suites over node drivers. All of it goes at the end."""

from __future__ import annotations

import ipaddress
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from farmlet.engine.images.build import Base
from farmlet.engine.nodes.container import ContainerDriver
from farmlet.engine.nodes.driver import Machine
from farmlet.engine.sandbox import docker as engine
from farmlet.engine.store import Store
from host import CONTRACT as FACILITY
from host import prepare
from once import once

NETWORK = "farmlet-contract"
NAME = "node"


def _sweep(client: docker.DockerClient) -> None:
    """Everything of the facility `contract`, and nothing else."""
    found = engine.owned(client, FACILITY)
    for container in found["containers"]:
        container.remove(force=True, v=True)
    for volume in found["volumes"]:
        volume.remove(force=True)
    for network in found["networks"]:
        network.remove()


@pytest.fixture(scope="session")
def client() -> docker.DockerClient:
    """The Docker engine of this host; the suites need root and the engine, and say so."""
    if os.geteuid() != 0 or not shutil.which("dockerd"):
        pytest.skip("needs root and Docker")
    once("prepare", prepare)  # what this host looks like without any of it
    return engine.connect()


@pytest.fixture(scope="session")
def network(client: docker.DockerClient) -> Iterator[ipaddress.IPv4Network]:
    _sweep(client)  # of a run that was killed
    try:
        yield engine.ensure_network(client, NETWORK, FACILITY, None)
    finally:
        _sweep(client)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A state folder with a deploy key."""
    made = Store(tmp_path_factory.mktemp("contract"), FACILITY)
    made.ensure()
    made.ensure_key()
    return made


@pytest.fixture(scope="session")
def machine(client: docker.DockerClient) -> Machine:
    """A blank Debian 13 node; the image is made when it is missing (about a minute) and stays."""
    image = Base().ensure(client, lambda text: None)
    return Machine(NAME, f"{NAME}.contract.invalid", image, data=("/srv/kept",))


@pytest.fixture(scope="session")
def containers(client: docker.DockerClient, network: ipaddress.IPv4Network, store: Store) -> ContainerDriver:
    addresses = {NAME: str(network.network_address + 10), "other": str(network.network_address + 11)}
    return ContainerDriver(client, FACILITY, NETWORK, addresses, store.key)


@pytest.fixture
def known(store: Store) -> Iterator[Path]:
    """known_hosts of the store; empty at the end."""
    store.known.write_text("")
    yield store.known
    store.known.write_text("")


@pytest.fixture
def blank(containers: ContainerDriver, machine: Machine, known: Path) -> Iterator[Machine]:
    """A fresh, running, known blank node."""
    containers.remove(machine)
    try:
        containers.ensure(machine)
        known.write_text(f"{containers.address(machine)} {containers.host_key(machine)}\n")
        yield machine
    finally:
        containers.remove(machine)
