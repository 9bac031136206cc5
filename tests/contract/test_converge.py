"""The engine on a real node: what `apply` says it did is there, a second look finds nothing, and a failure is told."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from farmlet.engine.apply import Done, Sources, apply
from farmlet.engine.authority import Authority
from farmlet.engine.images.sources import python
from farmlet.engine.images.wheel import pack
from farmlet.engine.nodes.container import ContainerDriver
from farmlet.engine.nodes.driver import Machine
from farmlet.engine.nodes.ssh import SshDriver
from farmlet.engine.plan import Change, Target, observe
from farmlet.engine.store import Store
from farmlet.errors import Errors, FarmletError
from farmlet.parts.resources import (
    Account,
    Certificate,
    Command,
    Directory,
    Environment,
    Farmlet,
    File,
    KeyPair,
    Packages,
    Random,
    Resource,
    Unit,
    Wanted,
)

pytestmark = [pytest.mark.facility, pytest.mark.lane("contract"), pytest.mark.timeout(420)]

SECRET = "correct horse battery staple"
UNIT = """[Service]
ExecStart=/bin/sleep infinity
[Install]
WantedBy=multi-user.target
"""


def wanted(*resources: Resource) -> tuple[Wanted, ...]:
    return (Wanted("part.role", resources),)


RESOURCES: tuple[Resource, ...] = (
    Account("tester"),
    Directory("/srv/farm", 0o750, "tester", "tester"),
    File("/srv/farm/secret", SECRET, 0o600),
    Random("/srv/farm/random", owner="tester", group="tester"),
    KeyPair("/srv/farm/key", owner="tester"),
    Certificate("/srv/farm/own.crt", "/srv/farm/own.key", ("node.contract.invalid",)),
    Command("count", "echo done >> /srv/farm/count"),
    Command("flag", "touch /srv/farm/flag", unless="test -e /srv/farm/flag", user="tester"),
    File("/etc/systemd/system/farm.service", UNIT),
    Unit("farm.service"),
)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "ca", "contract.invalid", "Contract authority")


@pytest.fixture
def target(containers: ContainerDriver, blank: Machine, authority: Authority) -> Target:
    return Target(blank, containers, (), wanted(*RESOURCES), authority.ensure())


def run(target: Target, authority: Authority) -> list[Done]:
    """One look and what it asks for; the steps that were done."""
    done: list[Done] = []
    changes = {target.name: observe(target).changes}
    apply([target], changes, {target.name: authority}, pack(), Sources({}), done.append)
    return done


def labels(changes: tuple[Change, ...]) -> list[str]:
    return [change.resource.label for change in changes]


def test_apply_converges(target: Target, authority: Authority) -> None:
    shell = target.driver.shell(target.machine)
    assert labels(observe(target).changes) == [resource.label for resource in RESOURCES]
    first = run(target, authority)
    assert all(done.ok for done in first)
    seen = observe(target)
    assert seen.changes == ()
    assert seen.keys["/srv/farm/key"].startswith("ssh-ed25519 ")
    assert run(target, authority) == [], "nothing differs, nothing is done"
    assert shell.run(["cat", "/srv/farm/secret"]) == SECRET
    assert (
        shell.run(["stat", "-c", "%a %U", "/srv/farm/secret", "/srv/farm/random", "/srv/farm"])
        == "600 root\n600 tester\n750 tester\n"
    )
    assert shell.run(["systemctl", "is-active", "farm.service"]) == "active\n"
    assert shell.run(["cat", "/srv/farm/count"]) == "done\n"
    # drift by hand is seen and mended; the unit that reads what changed is started again
    started = shell.run(["systemctl", "show", "-pMainPID", "farm.service"])
    shell.run(["sh", "-c", "echo tampered > /srv/farm/secret; chmod 0777 /srv/farm"])
    assert labels(observe(target).changes) == ["directory /srv/farm", "file /srv/farm/secret", "step count", "unit farm.service"]
    run(target, authority)
    assert observe(target).changes == ()
    assert shell.run(["cat", "/srv/farm/secret"]) == SECRET
    assert shell.run(["systemctl", "show", "-pMainPID", "farm.service"]) != started
    # what the node was sent is gone again
    assert shell.run(["sh", "-c", "ls -A /run/farmlet/payload /run/farmlet/payload.tar 2>/dev/null || true"]) == ""


def test_the_certificate_is_for_the_nodes_own_key(target: Target, authority: Authority, tmp_path: Path) -> None:
    run(target, authority)
    shell = target.driver.shell(target.machine)
    certificate = tmp_path / "own.crt"
    certificate.write_text(shell.run(["cat", "/srv/farm/own.crt"]))
    subprocess.run(["openssl", "verify", "-x509_strict", "-CAfile", authority.path, certificate], check=True)
    inside = shell.run(["openssl", "pkey", "-in", "/srv/farm/own.key", "-pubout"])
    outside = subprocess.run(["openssl", "x509", "-in", certificate, "-noout", "-pubkey"], capture_output=True, text=True)
    assert inside == outside.stdout


OF_SID = """
dpkg-query -W -f '${Package}\\n' | while read name; do
    apt-cache policy $name | grep -A 1 '^ [*][*][*]' | grep -q ' sid/main ' && echo $name
done; true
"""


def test_of_another_suite_come_only_the_packages_named(target: Target, authority: Authority) -> None:
    """Debian 13 has what Apptainer needs, in older versions; of what nobody names it sees nothing there."""
    shell = target.driver.shell(target.machine)
    run(replace(target, configure=wanted(Packages(("fuse3",)), Packages(("apptainer",), "sid"))), authority)
    assert shell.run(["sh", "-c", OF_SID]).split() == ["apptainer"]
    update = shell.run(["apt-get", "--simulate", "--quiet=2", "dist-upgrade"])
    assert ":unstable" not in update
    files = shell.run(["sh", "-c", "cat /etc/apt/sources.list.d/*.list"])
    assert "sid main" in files and "valid-until" not in files, "whether lists may be out of date is the node's own business"


def test_a_failure_is_told_with_its_output(target: Target, authority: Authority) -> None:
    broken = replace(target, configure=wanted(Command("break", "echo the cause >&2; exit 3"), File("/srv/after", "x")))
    with pytest.raises(Errors) as caught:
        run(broken, authority)
    (error,) = caught.value.errors
    assert "node" in error.where and "step break" in error.where
    assert "the cause" in error.what and error.hint
    assert "file /srv/after" in labels(observe(broken).changes), "nothing after the failure was done"


def test_one_nodes_failure_is_not_anothers(target: Target, store: Store) -> None:
    """A node that cannot be reached is an error, however many others can: else an image would be kept without its install."""
    reached = replace(target, configure=wanted(File("/srv/reached", "x")))
    lost = replace(
        target,
        machine=replace(target.machine, name="lost"),
        driver=SshDriver("127.0.0.1", 1, "root", store.key, store.known, None),
    )
    change = {name: [Change(name, "part.role", File("/srv/reached", "x"), "new", "")] for name in ("node", "lost")}
    with pytest.raises(FarmletError):
        apply([reached, lost], change, {}, pack(), Sources({}), lambda done: None)


def test_the_way_of_secrets_is_closed_to_members(target: Target, authority: Authority) -> None:
    """While a payload is written it may be readable for a moment; the folder it lies in may not."""
    look = Command("look", "stat -c %a /run/farmlet > /srv/mode; stat -c %a /run/farmlet/payload >> /srv/mode")
    run(replace(target, configure=wanted(look)), authority)
    assert target.driver.shell(target.machine).run(["cat", "/srv/mode"]) == "700\n700\n"


def test_the_nodes_environment_is_in_no_command_line(target: Target, authority: Authority) -> None:
    """A package index may carry a password in its address; members read the process list."""
    look = Command("look", "ps axww -o args > /srv/processes; env > /srv/environment")
    change = {target.name: [Change(target.name, "part.role", look, "new", "")]}
    apply([target], change, {}, pack(), Sources({"PIP_INDEX_URL": "https://u:hunter2@example.org/"}), lambda done: None)
    shell = target.driver.shell(target.machine)
    assert "hunter2" in shell.run(["cat", "/srv/environment"])
    assert "hunter2" not in shell.run(["cat", "/srv/processes"])


PACKAGING = {
    "24.1": "5b8f2217dbdbd2f7f384c41c628544e6d52f2d0f53c6d0c3ea61aa5d1d7ff124",
    "24.2": "09abb1bccd265c01f4a3aa3f7a7db064b36514d2cba19a2f694fe6150451a759",
}


def require(version: str, digest: str = "") -> str:
    return f"packaging=={version} --hash=sha256:{digest or PACKAGING[version]}\n"


def test_what_is_installed_from_outside(target: Target, authority: Authority) -> None:
    """Packages, an environment, Farmlet in it; an environment made anew takes Farmlet out and brings it back at once."""
    shell = target.driver.shell(target.machine)

    def install(requirements: str, system: bool = False) -> list[str]:
        made = (
            Packages(("cron",)),
            Environment("/opt/env", requirements, system),
            Farmlet("/opt/env", pack().digest),
            Command("import", "/opt/env/bin/python -c 'import farmlet'"),
        )
        one = replace(target, configure=wanted(*made))
        asked = labels(observe(one).changes)
        apply([one], {target.name: observe(one).changes}, {}, pack(), python(), lambda done: None)
        assert observe(one).changes == ()
        return asked

    install(require("24.2"))
    assert shell.run(["sh", "-c", "systemctl is-active cron.service || true"]) == "inactive\n", "it waits for its Unit"
    assert shell.run(["sh", "-c", "ls /usr/sbin/policy-rc.d /var/lib/farmlet/uv 2>/dev/null || true"]) == ""
    assert install(require("24.1"), system=True) == ["environment /opt/env", "farmlet in /opt/env", "step import"]
    assert "= true" in shell.run(["grep", "include-system", "/opt/env/pyvenv.cfg"])
    # root runs what is installed: a file of another content, and a name without any hash, are refused
    for other in (require("24.0", "0" * 64), "packaging==24.0\n"):
        with pytest.raises(Errors, match=r"(?i)hash"):
            install(other)
    assert shell.run(["sh", "-c", "test -e /opt/env/.requirements || echo none"]) == "none\n"


def test_an_admins_own_ways(target: Target, authority: Authority) -> None:
    """A policy for services that somebody wrote stays; a unit that somebody masked runs again, for the file says so."""
    shell = target.driver.shell(target.machine)
    shell.run(["sh", "-c", "echo '#!/bin/sh' > /usr/sbin/policy-rc.d"])
    one = replace(target, configure=wanted(Packages(("cron",)), Unit("cron.service")))
    run(one, authority)
    shell.run(["systemctl", "-q", "mask", "--now", "cron.service"])
    assert labels(observe(one).changes) == ["unit cron.service"]
    run(one, authority)
    assert observe(one).changes == ()
    assert shell.run(["systemctl", "is-active", "cron.service"]) == "active\n"
    assert shell.run(["cat", "/usr/sbin/policy-rc.d"]) == "#!/bin/sh\n"


def test_a_failure_leaves_nothing_of_ours(target: Target, authority: Authority) -> None:
    broken = replace(target, configure=wanted(File("/srv/secret", SECRET, 0o600), Command("break", "exit 3")))
    with pytest.raises(Errors):
        run(broken, authority)
    shell = target.driver.shell(target.machine)
    assert shell.run(["sh", "-c", "ls -A /run/farmlet"]) == ""
