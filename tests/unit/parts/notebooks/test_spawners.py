"""Servers as units of systemd: what is written for them, how they are started, and where it does not hold."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import pytest
from test_notebooks_deploy import configure, load, read

from farmlet.errors import Errors
from farmlet.parts.notebooks import checks, deploy, metrics, roster, spawners
from farmlet.parts.notebooks.hub.settings import Settings
from farmlet.parts.notebooks.hub.unit import Unit, quote
from farmlet.parts.notebooks.limits import find_unlimited
from farmlet.parts.notebooks.names import Relay, Server
from farmlet.parts.notebooks.roster import Member
from farmlet.parts.part import Context, Trust
from farmlet.parts.resources import File
from farmlet.parts.resources import Unit as Wanted
from farmlet.runtime.checks import Failed

SYSTEMD = "notebooks: {spawner: systemd}\n"


def place(folder: Path, monkeypatch: pytest.MonkeyPatch, **programs: str) -> None:
    """Programs of these names that say what the scripts do."""
    for name, script in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_a_facility_has_one_of_two_spawners() -> None:
    with pytest.raises(Errors, match="spawner: should be 'docker' or 'systemd'"):
        load("notebooks: {spawner: podman}\n")


@pytest.mark.parametrize(("more", "docker"), [("", True), (SYSTEMD, False)], ids=["docker", "systemd"])
def test_docker_runs_where_it_runs_servers(more: str, docker: bool) -> None:
    resources = configure("notebooks.hub", "head", more)
    runs = {one.name: one.running for one in resources if isinstance(one, Wanted)}
    assert runs["docker.service"] is docker and (f"{spawners.NAMES}.service" in runs) is not docker
    assert ("docker.service" in read(resources, "/farmlet-notebooks.service")) is docker
    told = Settings(**json.loads(read(resources, "settings.json")))
    assert (told.spawner, told.network) == (("docker", "farmlet") if docker else ("systemd", "198.18.0.0/20"))
    facility = load(more)
    context = Context(facility, facility.nodes["head"], Trust(""), "0" * 64)
    names = {check.name for check in deploy.check_hub(context)}
    assert ("notebooks.docker" in names, "notebooks.limits" in names) == (docker, not docker)
    assert all("{{" not in str(one.content).replace("{{.", "") for one in resources if isinstance(one, File))


def test_networks_of_servers_lead_out_and_nowhere_else() -> None:
    rules = [
        line for line in read(configure("notebooks.hub", "head", SYSTEMD), "notebook-network").splitlines() if "rule " in line
    ]
    forward = [line.split(" FORWARD ")[1] for line in rules if " FORWARD " in line]
    # each comes before those that were there
    answers = "-o farmlet1 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
    assert forward[::-1] == [answers, "-o farmlet1 -j DROP", "-i farmlet1 -j ACCEPT"]
    assert any("-o farmlet1 -m owner --uid-owner 1000-4294967294 -j REJECT" in line for line in rules)
    assert any("-d 169.254.0.0/16 -j DROP" in line for line in rules)


@pytest.fixture
def server(tmp_path: Path) -> Unit:
    settings = json.loads(read(configure("notebooks.hub", "head", SYSTEMD), "settings.json"))
    Unit.settings = Settings(**{**settings, "state": str(tmp_path)})
    made = Unit(user=SimpleNamespace(name="alice"), orm_spawner=SimpleNamespace(name="", server=None))
    made.owner = Member("sub", "alice", 20000, 20000, "/home/alice")
    made.volumes = {"/home/alice": "/home/alice"}
    made.read_only_volumes = {"/image/usr": "/usr", "/cvmfs": {"bind": "/cvmfs", "mode": "ro"}}
    made.in_memory = {"/tmp": "mode=1777"}
    made.mem_limit, made.cpu_limit = 1 << 30, 2.0
    return made


def test_a_unit_has_its_members_name_root_network_and_size(server: Unit) -> None:
    words = [*server.describe(7, Path("/state/7.env"))]
    told = dict(word.removeprefix("--property=").split("=", 1) for word in words if word.startswith("--property="))
    assert "--unit=farmlet-server-alice.service" in words and "--uid=alice" in words
    assert told["BindsTo"] == told["After"] == "farmlet-notebook-base@7.service"
    assert (told["RootDirectory"], told["NetworkNamespacePath"]) == ("/run/farmlet-servers/7/root", "/run/netns/farmlet-7")
    assert (told["MemoryMax"], told["CPUQuota"], told["TasksMax"]) == (str(1 << 30), "200%", "4096")
    assert told["BindPaths"] == "/home/alice:/home/alice" and told["TemporaryFileSystem"] == "/tmp:mode=1777"
    shown = told["BindReadOnlyPaths"].split()
    assert "/cvmfs:/cvmfs" in shown and "/opt/farmlet/notebook/resolv.conf:/etc/resolv.conf" in shown
    assert not [one for one in shown if one.endswith(":/usr")], "the root has it"
    assert not [word for word in words if "TOKEN" in word]


def test_a_named_server_has_a_unit_of_its_own_whatever_its_name(server: Unit) -> None:
    names = set()
    for name in ("", "a", "b", "x/../*?;$(id) é" * 20):
        server.orm_spawner.name = name
        names.add(server.unit)
        assert len(server.unit) < 100 and server.unit.removeprefix("farmlet-server-").partition(".")[0] == "alice"
        assert set(server.unit) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-")
    assert len(names) == 4


def test_values_of_the_environment_are_quoted() -> None:
    assert quote('a "b" $c `d` \\e') == '"a \\"b\\" \\$c \\`d\\` \\\\e"'


def test_a_unit_that_ended_is_told_from_one_that_runs(server: Unit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = "printf 'ActiveState=%s\\nExecMainStatus=9\\nResult=oom-kill\\nInvocationID=1\\n'"
    script = f"echo $1 >> {tmp_path}/asked; [ $1 != show ] || {told}"
    place(tmp_path, monkeypatch, systemctl=f"{script} active", journalctl="echo last words")
    assert asyncio.run(server.poll()) is None
    place(tmp_path, monkeypatch, systemctl=f"{script} failed")
    assert asyncio.run(server.poll()) == 9
    assert (tmp_path / "asked").read_text().split()[-1] == "reset-failed", "nothing is left of it"
    assert asyncio.run(server.find_end()) == (9, True, "last words\n")
    place(tmp_path, monkeypatch, systemctl="echo gone >&2; exit 1")
    with pytest.raises(Exception, match="gone"):  # of which the Hub makes no end
        asyncio.run(server.poll())


def test_servers_of_others_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    units = "".join(
        f"farmlet-server-{one}.service loaded active running Notebook\\n" for one in ("alice", "bob", "bob.0123456789ab")
    )
    script = f"echo \"$@\" >> {tmp_path}/asked; [ $1 != list-units ] || printf '{units}'"
    place(tmp_path, monkeypatch, systemctl=script)
    roster.end(frozenset({"alice"}), 1, "systemd")
    stopped = [line.split()[1] for line in (tmp_path / "asked").read_text().splitlines() if line.startswith("stop ")]
    assert stopped == ["farmlet-server-bob.service", "farmlet-server-bob.0123456789ab.service"]
    counted = {str(one.labels["state"]): one.value for one in metrics.count_servers("systemd")}
    assert counted == {"running": 3, "exited": 0, "created": 0, "other": 0}


def test_a_node_that_is_emptied_names_the_servers_of_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = "farmlet-server-bob.service loaded active running Notebook of bob"
    place(tmp_path, monkeypatch, systemctl=f"echo {row}", docker="echo notebook of alice")
    said = subprocess.run(["sh", "-ec", deploy.BUSY], capture_output=True, text=True, check=True).stdout
    assert said == "notebook of bob\nnotebook of alice\n"


@pytest.mark.parametrize(
    ("files", "lacking"),
    [
        ({"u/memory.max": "1048576", "u/cpu.max": "50000 100000", "u/pids.max": "16"}, []),
        ({"u/memory.max": "max", "u/cpu.max": "max 100000", "u/pids.max": "16"}, ["memory", "cores"]),
        ({"memory/u/memory.limit_in_bytes": "1048576", "cpu/u/cpu.cfs_quota_us": "50000", "pids/u/pids.max": "16"}, []),
        (
            {"memory/u/memory.limit_in_bytes": "9223372036854771712", "cpu/u/cpu.cfs_quota_us": "-1"},
            ["memory", "cores", "processes"],
        ),
    ],
    ids=["2", "2-none", "1", "1-none"],
)
def test_limits_are_looked_at_in_both_versions_of_cgroups(tmp_path: Path, files: dict[str, str], lacking: list[str]) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
    assert find_unlimited("/u", tmp_path) == lacking


def test_a_node_where_limits_do_not_hold_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place(tmp_path, monkeypatch, systemctl="echo /system.slice/nothing-of-ours.service")
    with pytest.raises(Failed, match=r"limits no memory and cores and processes of a unit here.*`spawner: docker`"):
        checks.check_limits("any.service")
    place(tmp_path, monkeypatch, systemctl="echo")
    with pytest.raises(Failed, match="does not run"):
        checks.check_limits("any.service")


def test_names_come_from_whom_the_node_asks(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        listening = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for each in (there, listening, one):
            each.bind(("127.0.0.1", 0))
            each.settimeout(20)
        (tmp_path / "resolv.conf").write_text("# of the node\nnameserver 127.0.0.254\nsearch x\nnameserver 127.0.0.1\n")
        names = {"port": there.getsockname()[1], "resolvers": tmp_path / "resolv.conf"}
        server = Server(listening, type("Near", (Relay,), names))
        Thread(target=server.serve_forever, daemon=True).start()
        one.sendto(b"ab who?", listening.getsockname())  # the first of the two resolvers is not there
        words, whose = there.recvfrom(512)
        there.sendto(b"xx other", whose)  # of another question
        there.sendto(words[:2] + b" is here", whose)
        assert one.recv(512) == b"ab is here"
        server.shutdown()
        server.server_close()
