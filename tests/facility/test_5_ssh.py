"""A bare Debian 13 host reached by SSH gets the same facility, by the same code."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import FARMLET, docker

from farmlet.engine.docker import LABEL, connect, ensure_network
from farmlet.engine.images import Base
from farmlet.engine.nodes.container import ContainerDriver
from farmlet.engine.nodes.driver import Machine
from farmlet.engine.store import Store

pytestmark = [pytest.mark.facility, pytest.mark.timeout(1500)]
FILE = """\
farmlet: 1
facility: {name: bare, title: A facility on one host, domain: bare.test}
nodes:
  solo:
    connect: ssh
    address: ADDRESS
    runs: [identity, accounts, access, batch, overlay, tokens, software, storage]
groups:
  lab: {login: true, batch: {share: 1}, storage: {read: [/], write: ["/users/{user}"]}}
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A folder with a facility file, and a blank Debian 13 machine that knows only the deploy key."""
    folder = tmp_path_factory.mktemp("bare")
    client = connect(start=True)
    network = ensure_network(client, "farmlet-barehost", "barehost", None)
    store = Store(folder, "bare")
    store.ensure()
    store.ensure_key()
    address = str(network.network_address + 10)
    driver = ContainerDriver(client, "barehost", "farmlet-barehost", {"solo": address}, store.key)
    machine = Machine("solo", "solo.bare.test", Base().ensure(client, print))
    driver.ensure(machine)
    (folder / "facility.yaml").write_text(FILE.replace("ADDRESS", address))
    yield folder, driver.name(machine)
    driver.remove(machine)
    for volume in client.volumes.list(filters={"label": f"{LABEL}=barehost"}):
        volume.remove()
    client.networks.get("farmlet-barehost").remove()


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*FARMLET, *words], cwd=folder, capture_output=True, text=True, timeout=1200)


def test_bare_host_gets_the_facility(host: tuple[Path, str]) -> None:
    folder, container = host
    done = run(folder, "up", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["operations"] > 50
    again = run(folder, "up", "--json")
    assert json.loads(again.stdout)["operations"] == 0, again.stdout
    checks = json.loads(run(folder, "check", "--json").stdout)
    parts = {"base", "identity", "accounts", "access", "batch", "tokens", "storage", "software"}
    assert {row["check"].split(".")[0] for row in checks} >= parts
    assert all(row["ok"] for row in checks)
    added = run(folder, "user", "add", "ada", "--group", "lab", "--json")
    assert added.returncode == 0, added.stderr
    wait = "for i in $(seq 60); do id ada >/dev/null 2>&1 && [ -d /home/ada ] && exit 0; sleep 0.5; done; exit 1"
    docker("exec", container, "sh", "-c", wait)
    assert "(lab)" in docker("exec", container, "id", "ada")


def test_down_leaves_the_host_alone_and_says_so(host: tuple[Path, str]) -> None:
    folder, container = host
    done = run(folder, "down")
    assert done.returncode == 0, done.stderr
    assert docker("inspect", "-f", "{{.State.Status}}", container) == "running"


def test_strange_hosts_are_refused_in_words(host: tuple[Path, str], tmp_path: Path) -> None:
    text = FILE.replace("ADDRESS", "192.0.2.77").replace("name: bare", "name: nowhere")
    (tmp_path / "facility.yaml").write_text(text)
    done = run(tmp_path, "up")
    assert done.returncode == 2
    assert "192.0.2.77" in done.stderr
    assert "Traceback" not in done.stderr
