"""One suite over every node driver: what the seam `NodeDriver` promises holds for each of them.

What a driver makes, it stops and removes; what was there before it, it leaves alone. That is the one difference, and it
is stated per driver in `Case.makes`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import docker
import docker.errors
import pytest

from farmlet.engine.nodes.container import ContainerDriver
from farmlet.engine.nodes.driver import Machine, NodeDriver, SecureShell, Shell
from farmlet.engine.nodes.fake import FakeDriver
from farmlet.engine.nodes.local import LocalShell
from farmlet.engine.nodes.ssh import SshDriver
from farmlet.engine.sandbox.disk import Disk
from farmlet.engine.sandbox.docker import LABEL
from farmlet.engine.store import Store
from farmlet.errors import FarmletError, InputError

pytestmark = [pytest.mark.facility, pytest.mark.lane("contract"), pytest.mark.timeout(420)]


@dataclass(frozen=True)
class Case:
    """A driver, the machine it is asked for, and whether the machine is its own making."""

    driver: NodeDriver
    machine: Machine
    makes: bool


def _ssh(containers: ContainerDriver, machine: Machine, store: Store, host_key: str | None = None) -> SshDriver:
    return SshDriver(containers.address(machine), 22, "root", store.key, store.known, host_key)


@pytest.fixture(params=["fake", "container", "ssh"])
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    if request.param == "fake":
        yield Case(FakeDriver(), Machine("node", "node.contract.invalid"), makes=True)
        return
    if request.param == "ssh":
        machine = request.getfixturevalue("blank")
        containers, store = request.getfixturevalue("containers"), request.getfixturevalue("store")
        yield Case(_ssh(containers, machine, store), machine, makes=False)
        return
    containers, machine = request.getfixturevalue("containers"), request.getfixturevalue("machine")
    containers.remove(machine)
    try:
        yield Case(containers, machine, makes=True)
    finally:
        containers.remove(machine)


def test_states(case: Case, request: pytest.FixtureRequest) -> None:
    driver, machine = case.driver, case.machine
    assert driver.state(machine) == ("absent" if case.makes else "running")
    for _ in range(2):
        driver.ensure(machine)
        assert driver.state(machine) == "running"
    kind, _, key = driver.host_key(machine).partition(" ")
    assert kind == "ssh-ed25519" and key
    assert driver.address(machine)
    first = driver.host_key(machine)
    for _ in range(2):
        driver.stop(machine)
        assert driver.state(machine) == ("stopped" if case.makes else "running")
    driver.ensure(machine)
    assert driver.state(machine) == "running"
    assert driver.host_key(machine) == first, "a stopped node comes back as itself"
    for _ in range(2):
        driver.remove(machine)
        assert driver.state(machine) == ("absent" if case.makes else "running")


@pytest.fixture(params=["local", "container", "ssh"])
def shell(request: pytest.FixtureRequest) -> Shell:
    """A shell of every kind that runs commands; the fake driver's runs none and only answers the probe."""
    if request.param == "local":
        return LocalShell()
    machine = request.getfixturevalue("blank")
    containers, store = request.getfixturevalue("containers"), request.getfixturevalue("store")
    driver: NodeDriver = containers if request.param == "container" else _ssh(containers, machine, store)
    return driver.shell(machine)


def test_shell(shell: Shell) -> None:
    assert shell.run(["echo", "a  b", "$HOME `id`", "it's"]) == "a  b $HOME `id` it's\n", "words arrive as they are"
    assert shell.run(["id", "-u"]) == "0\n"
    assert shell.run(["cat"], "größe\n") == "größe\n"
    big = b"x" * 300_000
    assert shell.run(["wc", "-c"], big).strip() == "300000", "more than any pipe holds"
    assert shell.run(["cat"]) == "", "standard input is empty, not this terminal's"
    with pytest.raises(FarmletError) as caught:
        shell.run(["sh", "-c", "echo first >&2; echo the cause >&2; exit 7"])
    assert "7" in caught.value.what and "the cause" in caught.value.what and caught.value.where
    with pytest.raises(FarmletError) as caught:
        shell.run(["sleep", "30"], timeout=2)
    assert "within 2 s" in caught.value.what and caught.value.hint


def test_a_container_is_a_debian_node(containers: ContainerDriver, blank: Machine, client: docker.DockerClient) -> None:
    shell = containers.shell(blank)
    assert shell.run(["cat", "/proc/1/comm"]) == "systemd\n"
    assert "VERSION_CODENAME=trixie" in shell.run(["cat", "/etc/os-release"])
    assert shell.run(["hostname", "-f"]).strip() == blank.fqdn
    assert shell.run(["stat", "-c", "%a", "/root/.ssh"]) == "700\n"
    # a limit that systemd accepts and the kernel does not enforce is the trap here: ask the kernel
    script = "grep -rqs 104857600 /sys/fs/cgroup/memory$(sed -n 's/.*memory://p' /proc/self/cgroup)/memory.limit_in_bytes "
    script += "/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)/memory.max"
    shell.run(["systemd-run", "--quiet", "--wait", "-p", "MemoryMax=100M", "sh", "-c", script.replace("$", "$$")])


def test_a_container_is_resized_in_place(
    containers: ContainerDriver, blank: Machine, client: docker.DockerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    first = containers.host_key(blank)
    for memory, cores in ((1 << 30, 1), (3 << 30, 2), (1 << 30, 4)):
        wanted = replace(blank, memory=memory, cores=cores)
        assert "memory is" in containers.differs(wanted) and "cores are" in containers.differs(wanted)
        containers.ensure(wanted)
        assert containers.differs(wanted) == "" and containers.host_key(wanted) == first
        config = client.containers.get(containers.name(blank)).attrs["HostConfig"]
        assert (config["Memory"], max(config["CpuQuota"], 0)) == (memory, cores * 100_000 if cores < 4 else 0)


def test_a_container_gets_the_names_of_its_web_services_in_place(
    containers: ContainerDriver, blank: Machine, client: docker.DockerClient
) -> None:
    named = replace(blank, aliases=("pages.contract.invalid",))
    other = replace(blank, name="other", fqdn="other.contract.invalid")
    try:
        containers.ensure(other)
        asker = client.containers.get(containers.name(other))
        assert "pages.contract.invalid" in containers.differs(named) and not containers.differs(blank)
        began = client.containers.get(containers.name(blank)).attrs["State"]["StartedAt"]
        containers.ensure(named)
        assert not containers.differs(named) and containers.differs(blank)
        for name in (blank.fqdn, "pages.contract.invalid"):
            code, output = asker.exec_run(["getent", "ahostsv4", name])
            assert code == 0 and containers.address(blank) in output.decode(), name
        assert containers.shell(named).run(["echo", "here"]) == "here\n"
        assert client.containers.get(containers.name(blank)).attrs["State"]["StartedAt"] == began
        containers.ensure(blank)
        assert asker.exec_run(["getent", "ahostsv4", "pages.contract.invalid"])[0] != 0
    finally:
        containers.remove(other)


def test_a_container_that_ends_is_told_in_words(
    containers: ContainerDriver, blank: Machine, client: docker.DockerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node whose first process dies while it boots, as on a host whose cgroups it cannot use."""
    container = client.containers.get(containers.name(blank))
    container.exec_run(["sh", "-c", "printf '#!/bin/sh\\necho no cgroups; exit 78\\n' > /usr/local/sbin/farmlet-init"])
    containers.stop(blank)
    with pytest.raises(FarmletError) as caught:
        containers.ensure(blank)
    assert "ended" in caught.value.what and "no cgroups" in caught.value.what and "docker logs" in caught.value.hint


def test_data_outlives_a_container(containers: ContainerDriver, blank: Machine, client: docker.DockerClient, known: Path) -> None:
    """A container that somebody removed beside us is made anew, with the data of the lost one."""
    containers.shell(blank).run(["sh", "-c", "echo precious > /srv/kept/file; echo gone > /srv/file"])
    first = containers.host_key(blank)
    client.containers.get(containers.name(blank)).remove(force=True, v=True)
    containers.ensure(blank)
    assert containers.host_key(blank) != first, "no key is part of the image"
    known.write_text(f"{containers.address(blank)} {containers.host_key(blank)}\n")
    assert containers.shell(blank).run(["cat", "/srv/kept/file"]) == "precious\n"
    with pytest.raises(FarmletError):
        containers.shell(blank).run(["cat", "/srv/file"])


def test_a_container_never_takes_data_that_it_would_lose(
    containers: ContainerDriver, machine: Machine, client: docker.DockerClient
) -> None:
    small = replace(machine, name="other", data=())
    roomy = replace(small, data=("/srv/kept", "/srv/more"))
    assert containers.refusal(roomy) is None, "it is not there yet"
    containers.ensure(small)
    try:
        assert containers.refusal(small) is None and containers.differs(small) == ""
        assert "no volume for /srv/kept, there is no volume for /srv/more" in containers.differs(roomy)
        refusal = containers.refusal(roomy)
        assert refusal and "keeps data at /srv/kept, /srv/more" in refusal.what and containers.name(small) in refusal.hint
        client.containers.get(containers.name(small)).remove(force=True)  # as its hint says
        containers.ensure(roomy)
        assert containers.refusal(roomy) is None and containers.differs(roomy) == ""
        assert containers.refusal(small) is None, "what is no longer wanted is kept all the same"
    finally:
        containers.remove(roomy)


def test_a_removed_node_leaves_only_what_others_share(
    containers: ContainerDriver, machine: Machine, client: docker.DockerClient
) -> None:
    sharing = replace(machine, name="other", shared=(("common", "/srv/common", "rw"),))

    def volumes() -> set[str]:
        return {volume.name for volume in client.volumes.list(filters={"label": f"{LABEL}=contract"})}

    before = volumes()
    containers.ensure(sharing)
    assert len(volumes() - before) == 2
    containers.remove(sharing)
    assert containers.state(sharing) == "absent"
    assert [name.rsplit("-", 1)[1] for name in volumes() - before] == ["common"]


def test_rooms_are_on_the_disk_and_a_container_never_starts_without_it(
    containers: ContainerDriver, machine: Machine, client: docker.DockerClient, network: ipaddress.IPv4Network, store: Store
) -> None:
    disk = Disk(store.path)
    disk.make()
    address = str(network.network_address + 11)
    driver = ContainerDriver(client, "contract", "farmlet-contract", {"other": address}, store.key, disk=disk.path)
    roomy = replace(
        machine, name="other", shared=(("common", "/srv/common", "rw"),), quotas=frozenset({"/srv/kept", "/srv/common"})
    )
    try:
        driver.ensure(roomy)
        shell = driver.shell(roomy)
        store.known.write_text(f"{address} {driver.host_key(roomy)}\n")
        assert shell.run(["stat", "-f", "-c", "%T", "/srv/kept", "/srv/common"]).split() == ["btrfs", "btrfs"]
        shell.run(["sh", "-c", "echo precious > /srv/common/file"])
        driver.stop(roomy)
        disk.detach()
        with pytest.raises(FarmletError, match="does not start"):
            driver.ensure(roomy)
        disk.attach()
        driver.ensure(roomy)
        assert (disk.path / "farmlet-contract-common" / "file").read_text() == "precious\n"
        driver.remove(roomy)
        assert [path.name for path in disk.path.iterdir()] == ["farmlet-contract-common"]
    finally:
        driver.remove(roomy)
        disk.detach()


def test_a_container_of_somebody_else_is_left_alone(
    containers: ContainerDriver, machine: Machine, client: docker.DockerClient
) -> None:
    other = replace(machine, name="foreign")
    foreign = client.containers.create(machine.image, name=containers.name(other), command=["true"])
    try:
        for act in (containers.ensure, containers.stop, containers.remove, containers.state):
            with pytest.raises(InputError, match="not ours"):
                act(other)
        client.containers.get(containers.name(other))
    finally:
        foreign.remove(force=True)


def test_ssh_learns_a_key_once(containers: ContainerDriver, blank: Machine, store: Store, known: Path) -> None:
    truth = containers.host_key(blank)
    known.write_text("")
    assert _ssh(containers, blank, store).host_key(blank).split()[:2] == truth.split()
    known.write_text(f"{containers.address(blank)} ssh-ed25519 REMEMBERED\n")
    assert _ssh(containers, blank, store).host_key(blank) == "ssh-ed25519 REMEMBERED", "what is known is not asked again"
    assert _ssh(containers, blank, store, "ssh-ed25519 FILE").host_key(blank) == "ssh-ed25519 FILE", "the file knows best"


def test_ssh_refuses_another_key(containers: ContainerDriver, blank: Machine, store: Store, known: Path, tmp_path: Path) -> None:
    other = Store(tmp_path, "other")
    other.ensure()
    wrong = " ".join(other.ensure_key().split()[:2])
    known.write_text(f"{containers.address(blank)} {wrong}\n")
    driver = _ssh(containers, blank, store)
    assert driver.state(blank) != "running"
    with pytest.raises(InputError) as caught:
        driver.ensure(blank)
    assert "SSH" in caught.value.what and caught.value.hint


def test_ssh_refuses_an_unknown_deploy_key(containers: ContainerDriver, blank: Machine, known: Path, tmp_path: Path) -> None:
    other = Store(tmp_path, "other")
    other.ensure()
    other.ensure_key()
    driver = SshDriver(containers.address(blank), 22, "root", other.key, known, None)
    with pytest.raises(InputError) as caught:
        driver.ensure(blank)
    assert str(other.key.with_suffix(".pub")) in caught.value.hint, "the hint names the key to put there"


def test_no_secret_of_ours_in_the_command_line(containers: ContainerDriver, blank: Machine) -> None:
    """What a shell is given on standard input is in nobody's process list, on the node or here."""
    shell = containers.shell(blank)
    assert isinstance(shell, SecureShell)
    assert "SECRET" not in shell.run(["sh", "-c", "cat >/dev/null; ps axww -o args"], "SECRET")
