"""The node that keeps homes and scratch for the others: what each is asked for. Served for real: tests/service/homes."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from farmlet.errors import Errors
from farmlet.parts.accounts import checks
from farmlet.parts.accounts.deploy import PART
from farmlet.parts.accounts.homes.files import EXPORTS, Mount
from farmlet.parts.part import Context
from farmlet.parts.resources import Command, File, Packages, Resource, Unit
from farmlet.runtime.checks import Failed

MakeContext = Callable[..., Context]
HEAD = "  head: {connect: fake, runs: [access]}\n"
FILES = "  files: {connect: fake, runs: [accounts.files]}\n"


def wanted(context: Context, role: str) -> list[Resource]:
    return list(PART.role(role).configure(context))


def texts(resources: list[Resource]) -> dict[str, str]:
    return {item.path: str(item.content) for item in resources if isinstance(item, File)}


def task(found: dict[str, str], name: str) -> str:
    return str(json.loads(found[f"/etc/farmlet/agent.d/accounts.{name}.json"])["apply"]["accounts"]["call"]).partition(":")[2]


def test_nobody_serves_unless_a_line_says_so(make_context: MakeContext) -> None:
    context = make_context("head")
    assert not context.facility.has("accounts.files")
    assert not [item for item in wanted(context, "homes") if isinstance(item, Packages | Unit)]


def test_the_server_makes_homes_and_lets_in_the_log_in_nodes_alone(make_context: MakeContext) -> None:
    context = make_context("files", "accounts: {homes: /srv/homes}\n", nodes=FILES)
    assert "accounts.homes" not in context.node.roles, "nobody logs in there"
    resources = wanted(context, "files")
    found = texts(resources)
    options = "(rw,sync,no_subtree_check,root_squash,sec=sys,mountpoint)"
    assert found[EXPORTS].splitlines()[1:] == [f"{path} head.farmlet.test{options}" for path in ("/srv/homes", "/scratch")]
    assert (task(found, "homes"), task(found, "keeping")) == ("apply", "apply")
    steps = [item for item in resources if isinstance(item, Command | Packages)]
    assert [item.name for item in steps[:2] if isinstance(item, Command)] == [
        f"{folder} a file system of its own" for folder in ("/srv/homes", "/scratch")
    ]
    assert isinstance(steps[2], Command) and "mask" in steps[2].run, "before the package that would start them"
    assert resources.index(Unit("nfs-server.service", reload=True)) > resources.index(
        next(r for r in resources if r.label.endswith(EXPORTS))
    )
    assert json.loads(found["/etc/farmlet/agent.d/accounts.homes.json"])["apply"]["accounts"]["args"]["logins"] is False
    checks = {check.name: check for check in PART.role("files").checks(context)}
    assert checks["accounts.homes.home"].args["logins"] is False
    assert {*checks} == {"accounts.files.unit", "accounts.files.disks", "accounts.homes.home", "accounts.homes.scratch"}


def test_containers_beside_hosts_are_refused(make_context: MakeContext) -> None:
    with pytest.raises(Errors, match=r"yaml:7: nodes.files.runs: accounts.files is not to be had on node head, more: containers"):
        make_context("head", nodes=FILES.replace("fake", "container") + HEAD.replace("head", "more"))


def test_the_control_node_serves_no_disk_of_its_own(make_context: MakeContext) -> None:
    own = "identity, accounts, accounts.files"
    with pytest.raises(Errors, match=r"yaml:6: nodes.service.runs: accounts.files is on the control node"):
        make_context("head", service=own)
    make_context("head", service=own, connect="container")  # there it is a task of the agent alone
    alone = make_context("service", service="identity, accounts, access, accounts.files", head="")
    assert not [item for item in wanted(alone, "files") if "file system of its own" in item.label], "where nobody is served"
    assert "accounts.files.disks" not in {check.name for check in PART.role("files").checks(alone)}


def test_the_others_mount_and_make_nothing(make_context: MakeContext) -> None:
    context = make_context("head", nodes=FILES)
    resources = wanted(context, "homes")
    found = texts(resources)
    assert "What=files.farmlet.test:/home\nWhere=/home\nType=nfs4\n" in found["/etc/systemd/system/home.mount"]
    assert {Unit("home.automount"), Unit("scratch.automount")} <= {*resources}
    assert (task(found, "homes"), task(found, "keeping")) == ("forget", "look")
    first, _ = PART.role("homes").checks(context)
    assert first.args == {"source": "files.farmlet.test:/home", "folder": "/home"}


def test_homes_of_the_hosts_own_accounts_are_never_hidden(make_context: MakeContext) -> None:
    resources = wanted(make_context("head", nodes=FILES), "homes")
    step = next(item for item in resources if isinstance(item, Command) and "hidden below /home" in item.name)
    assert resources.index(step) < resources.index(Unit("home.automount"))

    def run(script: str, *lines: str) -> subprocess.CompletedProcess[str]:
        given = script.replace("/etc/passwd", "/dev/stdin")
        text = "".join(f"{line}\n" for line in lines)
        return subprocess.run(["sh", "-c", given], input=text, capture_output=True, text=True)

    system = ("root:x:0:0::/root:/bin/sh", "nobody:x:65534:65534::/home/nobody:/bin/sh", "op:x:1001:1001::/homes/op:/bin/sh")
    assert run(step.unless, *system).returncode == 0
    assert run(step.unless, *system, "debian:x:1000:1000::/home/debian:/bin/bash").returncode
    refused = run(step.run, "debian:x:1000:1000::/home/debian:/bin/bash", "eva:x:1002:1002::/home/eva:/bin/bash")
    assert refused.returncode == 1 and "(debian: /home/debian,eva: /home/eva)" in refused.stderr, refused


def test_a_server_where_members_log_in_does_each_thing_once(make_context: MakeContext) -> None:
    context = make_context("head", nodes=HEAD.replace("head", "second"), head="access, accounts.files")
    made = json.loads(texts(wanted(context, "files"))["/etc/farmlet/agent.d/accounts.homes.json"])
    assert made["apply"]["accounts"]["args"]["logins"] is True
    assert {"accounts.homes", "accounts.files"} <= {*context.node.roles}
    assert wanted(context, "homes") == [] and PART.role("homes").checks(context) == ()
    assert "/home second.farmlet.test(" in texts(wanted(context, "files"))[EXPORTS]


def test_containers_have_the_folders_without_it(make_context: MakeContext) -> None:
    nodes = FILES.replace("fake", "container")
    server = make_context("files", nodes=nodes, connect="container")
    assert {*texts(wanted(server, "files"))} == {f"/etc/farmlet/agent.d/accounts.{name}.json" for name in ("homes", "keeping")}
    client = make_context("head", nodes=nodes, connect="container")
    assert task(texts(wanted(client, "homes")), "homes") == "forget", "the server makes them"
    assert PART.role("homes").checks(client) == ()


def test_two_servers_are_refused(make_context: MakeContext) -> None:
    with pytest.raises(Errors, match=r"nodes.more.runs: accounts.files is on node files too"):
        make_context("head", nodes=FILES + FILES.replace("files:", "more:"))


@pytest.mark.parametrize("path", ["/home", "/srv/homes", "/srv/my-homes", "/.hidden/homes_1", "/srv/a.b/.c"])
def test_units_have_the_names_that_systemd_wants(path: str) -> None:
    if not shutil.which("systemd-escape"):
        pytest.fail("needs the package systemd")
    said = subprocess.run(["systemd-escape", "--path", path], capture_output=True, text=True, check=True).stdout.strip()
    assert Mount("files.farmlet.test", path).unit == said


def test_a_mount_of_another_server_or_none_is_told(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    line = f"36 25 0:31 / {tmp_path} rw,relatime shared:1 - {{}} rw\n"

    def look(kind: str) -> str:
        mounts.write_text(line.format("autofs systemd-1") + line.format(kind))
        return checks.check_mount("files.farmlet.test:/home", str(tmp_path), str(mounts))

    assert "files.farmlet.test:/home: " in look("nfs4 files.farmlet.test:/home")
    for kind in ("ext4 /dev/vda1", "nfs4 other.farmlet.test:/home"):
        with pytest.raises(Failed, match=r"and should be files\.farmlet\.test:/home"):
            look(kind)
    with pytest.raises(Failed, match="cannot be reached on"):
        checks.check_mount("files.farmlet.test:/home", str(tmp_path / "nothing"))


@pytest.mark.parametrize(
    ("mounts", "own"),
    [
        ({"/": "8:1"}, False),
        ({"/": "8:1", "/home": "8:1"}, False),  # a subvolume of the node's own btrfs, or bound from there
        ({"/": "8:1", "/home": "8:2"}, True),
        ({"/": "8:1", "/home": "0:40\n8:2"}, True),  # by an automount
        ({"/": "8:1", "/home/ada": "8:2"}, False),
        ({"/": "8:1", "/var": "8:3", "/home": "8:3"}, False),  # bound from a disk that holds more than homes
        ({"/": "8:1", "/var": "8:3", "/home": "8:2"}, True),
    ],
)
def test_homes_on_the_nodes_own_disk_are_not_served(
    make_context: MakeContext, tmp_path: Path, mounts: dict[str, str], own: bool
) -> None:
    (tmp_path / "findmnt").write_text(
        "#!/bin/sh\ncase $4 in\n" + "".join(f"{at}) echo '{number}';;\n" for at, number in mounts.items()) + "*) exit 1;;\nesac\n"
    )
    (tmp_path / "findmnt").chmod(0o755)
    step = next(item for item in wanted(make_context("files", nodes=FILES), "files") if "/home a file system" in item.label)
    assert isinstance(step, Command)
    path = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    assert (subprocess.run(["sh", "-c", step.unless], env=path).returncode == 0) is own
    refused = subprocess.run(["sh", "-ec", step.run], capture_output=True, text=True)
    assert refused.returncode == 1 and refused.stderr.startswith("/home is not a file system of its own: ")

    lines = [f"1 1 {number} / {at} rw - ext4 none rw" for at, numbers in mounts.items() for number in numbers.splitlines()]
    (tmp_path / "mountinfo").write_text("\n".join(lines))
    if own:
        assert checks.check_own(["/home"], str(tmp_path / "mountinfo")).startswith("/home: mounted")
    else:
        with pytest.raises(Failed, match="/home: no file system of its own"):
            checks.check_own(["/home"], str(tmp_path / "mountinfo"))
