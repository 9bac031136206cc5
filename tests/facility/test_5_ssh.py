"""A host reached by SSH gets the same facility, by the same code."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

import pytest
from sandbox import FARMLET, Sandbox

import once
from farmlet.engine.images.build import Base
from farmlet.engine.nodes.container import ContainerDriver
from farmlet.engine.nodes.driver import Machine
from farmlet.engine.sandbox.docker import LABEL, connect, ensure_network
from farmlet.engine.store import Store
from host import docker

pytestmark = [pytest.mark.facility, pytest.mark.lane("guest"), pytest.mark.timeout(1500)]
FILE = """\
farmlet: 1
facility: {name: bare, title: A facility on one host, domain: bare.test}
nodes:
  solo:
    connect: ssh
    address: ADDRESS
    runs: [RUNS]
groups:
  lab: {login: true, batch: {share: 1}, storage: {read: [/], write: ["/users/{user}"]}}
"""
SOME = ("identity", "accounts")
ALL = ("identity", "accounts", "access", "batch", "overlay", "tokens", "software", "storage")


@dataclass(frozen=True)
class Host:
    """A machine that knows only the deploy key, and the folder with the facility file that names it."""

    folder: Path
    container: str
    runs: tuple[str, ...]


@contextmanager
def boot(image: str, runs: tuple[str, ...]) -> Iterator[Host]:
    folder = Path(mkdtemp(prefix="bare-", dir=once.folder()))  # what a killed run leaves is then known as its own
    client = connect()
    network = ensure_network(client, "farmlet-barehost", "barehost", None)
    store = Store(folder, "bare")
    store.ensure()
    store.ensure_key()
    address = str(network.network_address + 10)
    driver = ContainerDriver(client, "barehost", "farmlet-barehost", {"solo": address}, store.key)
    machine = Machine("solo", "solo.bare.test", image)
    driver.ensure(machine)
    (folder / "facility.yaml").write_text(FILE.replace("ADDRESS", address).replace("RUNS", ", ".join(runs)))
    try:
        yield Host(folder, driver.name(machine), runs)
    finally:
        driver.remove(machine)
        for volume in client.volumes.list(filters={"label": f"{LABEL}=barehost"}):
            volume.remove()
        client.networks.get("farmlet-barehost").remove()


@pytest.fixture(scope="module")
def host(sandbox: Sandbox, running: Sandbox) -> Iterator[Host]:
    """A Debian 13 machine that has all packages already: those of the sandbox's `service`."""
    image = docker("inspect", "-f", "{{.Image}}", sandbox.container("service"))
    with boot(image, SOME) as made:
        yield made


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*FARMLET, *words], cwd=folder, capture_output=True, text=True, timeout=1200)


def assert_whole(host: Host) -> None:
    """`up` makes a facility of the host, does nothing the second time, and a member comes into being."""
    done = run(host.folder, "up", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["operations"] > 20
    again = run(host.folder, "up", "--json")
    assert json.loads(again.stdout)["operations"] == 0, again.stdout
    checks = json.loads(run(host.folder, "check", "--json").stdout)
    assert {row["check"].split(".")[0] for row in checks} >= {"base", *host.runs} - {"overlay"}
    assert all(row["ok"] for row in checks)
    added = run(host.folder, "user", "add", "ada", "--group", "lab", "--json")
    assert added.returncode == 0, added.stderr
    wait = "for i in $(seq 60); do id ada >/dev/null 2>&1 && exit 0; sleep 0.5; done; exit 1"
    docker("exec", host.container, "sh", "-c", wait)
    assert "(lab)" in docker("exec", host.container, "id", "ada")


def test_a_host_reached_by_ssh_gets_a_facility(host: Host) -> None:
    assert_whole(host)


def test_down_leaves_the_host_alone_and_says_so(host: Host) -> None:
    done = run(host.folder, "down")
    assert done.returncode == 0, done.stderr
    assert docker("inspect", "-f", "{{.State.Status}}", host.container) == "running"


@pytest.mark.soak
def test_a_bare_host_gets_a_whole_facility() -> None:
    blank = Base().ensure(connect(start=True), print)
    with boot(blank, ALL) as host:
        assert_whole(host)
        wait = "for i in $(seq 60); do [ -d /home/ada ] && exit 0; sleep 0.5; done; exit 1"
        docker("exec", host.container, "sh", "-c", wait)


def test_strange_hosts_are_refused_in_words(host: tuple[Path, str], tmp_path: Path) -> None:
    text = FILE.replace("ADDRESS", "192.0.2.77").replace("RUNS", "identity").replace("name: bare", "name: nowhere")
    (tmp_path / "facility.yaml").write_text(text)
    done = run(tmp_path, "up")
    assert done.returncode == 2
    assert "192.0.2.77" in done.stderr
    assert "Traceback" not in done.stderr
