"""Something is away, killed or full: who is known still logs in, and what was asked for meanwhile comes about afterwards."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from person import Person
from sandbox import Sandbox, until

from host import docker

pytestmark = [
    pytest.mark.facility,
    pytest.mark.disturbs("accounts", "identity", "access"),
    pytest.mark.usefixtures("running"),
    pytest.mark.timeout(900),
]


@pytest.fixture(scope="module")
def omar(sandbox: Sandbox, running: Sandbox) -> Person:
    person = Person.join(sandbox, "omar", "lab")
    until(lambda: person.try_ssh("true").returncode == 0, 30)
    return person


def log_in(person: Person) -> None:
    """As ever. sssd asks a directory that does not answer for 3 s, then goes by what it knows; ssh gives up after 2 minutes."""
    assert person.ssh("id -Gn; cat ~/known") == f"{person.name} lab\nhere"


def has_home(sandbox: Sandbox, name: str) -> bool:
    return sandbox.exec("head", f"getent passwd {name} >/dev/null && stat -c %U /home/{name} || true") == name


def is_expired(sandbox: Sandbox, name: str) -> bool:
    """Whether a node would turn the member away."""
    return bool(
        sandbox.exec("head", f"getent shadow {name} >/dev/null; sssctl user-checks {name} -a acct 2>&1 | grep -i expired || true")
    )


@contextmanager
def stopped(sandbox: Sandbox, unit: str) -> Iterator[None]:
    sandbox.exec("service", f"systemctl stop {unit}")
    try:
        yield
    finally:
        sandbox.exec("service", f"systemctl start {unit}")


@pytest.mark.parametrize("unit", ["slapd", "farmlet-accounts", "caddy"])
def test_without_a_service_known_members_log_in_and_new_ones_follow(sandbox: Sandbox, omar: Person, unit: str) -> None:
    omar.ssh("echo here > known")
    name = f"late{unit[-4:]}"
    with stopped(sandbox, unit):
        sandbox.run("user", "add", name, "--group", "lab")
        log_in(omar)
        assert not has_home(sandbox, name)
    until(lambda: has_home(sandbox, name), 90)


def test_without_identity_known_members_log_in(sandbox: Sandbox, omar: Person) -> None:
    omar.ssh("echo here > known")
    with stopped(sandbox, "farmlet-identity"):
        log_in(omar)


def test_while_the_service_node_hangs_known_members_log_in_and_work(sandbox: Sandbox, omar: Person) -> None:
    """It answers nothing, and refuses nothing either; what the node knew of its members has just been flushed."""
    omar.ssh("echo here > known")
    sandbox.run("user", "add", "latehang", "--group", "lab")
    until(lambda: has_home(sandbox, "latehang"), 90)
    docker("pause", sandbox.container("service"))
    try:
        for _ in range(3):
            log_in(omar)
        submitted = omar.ssh("printf 'executable = /bin/true\\nhold = true\\nqueue\\n' | condor_submit -terse -")
    finally:
        docker("unpause", sandbox.container("service"))
    omar.ssh(f"condor_rm {submitted.split('.')[0]}")
    sandbox.run("user", "suspend", "latehang")
    until(lambda: is_expired(sandbox, "latehang"), 90)


@pytest.mark.parametrize("turn", [0, *(pytest.param(turn, marks=pytest.mark.soak) for turn in range(1, 20))])
def test_killed_at_any_moment_the_end_is_the_same(sandbox: Sandbox, turn: int) -> None:
    """Daemon and agent, while members come and go."""
    names = [f"kill{turn}{letter}" for letter in "abcd"]

    def kill() -> None:
        time.sleep(random.random() if turn else 0)
        sandbox.exec("service", "systemctl kill -s KILL farmlet-accounts")
        sandbox.exec("head", "systemctl kill -s KILL farmlet-agent")

    for name in names:
        sandbox.run("user", "add", name, "--group", "lab")
        kill()
    for name in names[:2]:
        sandbox.run("user", "suspend", name)
        kill()
    # who was suspended before the node had made the home has none
    until(lambda: all(has_home(sandbox, name) for name in names[2:]), 90)
    until(lambda: [is_expired(sandbox, name) for name in names] == [True, True, False, False], 90)
    for node, unit in (("service", "farmlet-accounts"), ("head", "farmlet-agent")):
        until(lambda node=node, unit=unit: sandbox.exec(node, f"systemctl is-active {unit} || true") == "active", 30)
    assert not [row for row in sandbox.json("check", "accounts") if not row["ok"]]


@contextmanager
def full(sandbox: Sandbox, node: str, folder: str, unit: str) -> Iterator[None]:
    """A disk of its own at `folder` of the node, with not a byte left, under the running service."""
    sandbox.exec(
        node,
        f"""
        systemctl stop {unit}
        mkdir /tmp/kept && cp -a {folder}/. /tmp/kept
        mount -t tmpfs -o mode=$(stat -c %a {folder}),size=16M tmpfs {folder} && cp -a /tmp/kept/. {folder}
        chown --reference=/tmp/kept {folder}
        head -c 17M /dev/zero > {folder}/.filling 2>/dev/null || true
        systemctl start {unit}
    """,
    )
    try:
        yield
    finally:
        sandbox.exec(
            node,
            f"""
            rm -f {folder}/.filling
            systemctl stop {unit}
            rm -rf /tmp/kept && cp -a {folder} /tmp/kept && umount {folder}
            cp -a /tmp/kept/. {folder} && rm -rf /tmp/kept
            systemctl start {unit}
        """,
        )


def test_a_full_disk_is_told_and_made_up_for(sandbox: Sandbox, omar: Person) -> None:
    name, folder = "latefull", "/var/lib/farmlet/control/outbox/all"
    omar.ssh("echo here > known")
    with full(sandbox, "service", folder, "farmlet-accounts"):
        sandbox.run("user", "add", name, "--group", "lab")
        log_in(omar)

        def told() -> bool:
            rows = sandbox.json("check", "accounts.daemon", code=1)
            return any("No space left on device" in row["evidence"] for row in rows)

        until(told, 180)
        assert not has_home(sandbox, name)
    until(lambda: has_home(sandbox, name), 180)
    assert not [row for row in sandbox.json("check", "accounts") if not row["ok"]]
