"""What is changed by hand is seen and mended; `up` may end anywhere and is simply repeated."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest
from person import Person
from sandbox import Sandbox, kill_group, until

from host import docker

pytestmark = [pytest.mark.facility, pytest.mark.disturbs(), pytest.mark.usefixtures("running"), pytest.mark.timeout(900)]


def test_a_node_killed_meanwhile_is_told_with_step_and_place(sandbox: Sandbox) -> None:
    process = sandbox.start("demo", "--json")
    until(lambda: list_drones(sandbox, running=True), 180)  # of four; the demo's jobs wait for them
    docker("kill", sandbox.container("tier1"))
    docker("kill", sandbox.container("head"))
    stdout, stderr = process.communicate(timeout=600)
    assert process.returncode == 1, stderr
    assert "demo step" in stderr
    assert "farmlet logs" in stderr
    report = json.loads(stdout)
    assert not report["ok"]
    assert not report["steps"][-1]["ok"]
    # and it is mended by the same command as everything
    sandbox.run("up")
    # The site counts the drones that died with its machine as running for `job_lease_duration` (drone.jdl), and they fill its
    # quota. Its own admin need not wait for that.
    lost = list_drones(sandbox)
    sandbox.exec("tier1", f"condor_rm {' '.join(lost)}; condor_rm {' '.join(lost)} -forcex; true")
    until(lambda: not {*lost} & {*list_drones(sandbox)}, 30)


def list_drones(sandbox: Sandbox, running: bool = False) -> list[str]:
    """What the site's queue has of drones: their numbers there."""
    only = ("-constraint", "JobStatus == 2") if running else ()
    number = ("-format", "%d.", "ClusterId", "-format", r"%d\n", "ProcId")
    return docker("exec", sandbox.container("tier1"), "condor_q", "-all", *only, *number).split()


def test_drift_is_seen_and_mended(sandbox: Sandbox) -> None:
    sandbox.exec("service", "echo '# by hand' >> /etc/caddy/Caddyfile; systemctl stop farmlet-accounts.service")
    sandbox.exec("head", "DEBIAN_FRONTEND=noninteractive apt-get remove -qy davix >/dev/null 2>&1")
    sandbox.exec("head", "chmod 777 /etc/farmlet/agent.json")
    plan = sandbox.json("plan", code=3)
    seen = {(row["node"], row["what"].split(" ", 1)[0], row["reason"]) for row in plan["changes"]}
    assert ("service", "file", "content differs") in seen
    assert ("service", "unit", "is inactive") in seen
    assert ("head", "packages", "not installed: davix") in seen
    assert any(node == "head" and "mode or owner" in reason for node, _, reason in seen)
    assert any("Caddyfile" in row["what"] for row in plan["changes"])
    sandbox.run("up")
    sandbox.run("plan", code=0)
    assert "by hand" not in sandbox.exec("service", "cat /etc/caddy/Caddyfile")
    assert sandbox.exec("service", "systemctl is-active farmlet-accounts.service") == "active"


def is_held(sandbox: Sandbox) -> bool:
    """Whether a command holds the facility's lock."""
    inode = (sandbox.folder / ".farmlet" / sandbox.name / "lock").stat().st_ino
    return any("FLOCK" in line and f":{inode} " in line for line in Path("/proc/locks").read_text().splitlines())


def _make_work(sandbox: Sandbox) -> None:
    """Something for `up` to do on two nodes that takes it a while."""
    for node in ("head", "service"):
        sandbox.exec(node, "rm -f /etc/farmlet/ca.pem /opt/farmlet/base/.farmlet /etc/sssd/sssd.conf; systemctl stop sssd")


def _end_half_way(sandbox: Sandbox, number: signal.Signals, after: float) -> None:
    _make_work(sandbox)
    process = sandbox.start("up")
    time.sleep(after)
    kill_group(process, number)
    assert process.returncode != 0
    until(lambda: not is_held(sandbox), 60)  # what it began on nodes ends there, in a moment


# one after another they are the next test
@pytest.mark.soak
@pytest.mark.parametrize(("number", "after"), [(signal.SIGKILL, 2.0), (signal.SIGINT, 6.0)])
def test_up_ended_half_way_is_repeated_to_success(sandbox: Sandbox, number: signal.Signals, after: float) -> None:
    _end_half_way(sandbox, number, after)
    sandbox.run("up")
    sandbox.run("plan", code=0)


def test_up_killed_then_interrupted_is_repeated_to_success_and_two_at_once_are_refused(sandbox: Sandbox) -> None:
    _end_half_way(sandbox, signal.SIGKILL, 2.0)
    _make_work(sandbox)
    first = sandbox.start("up")
    until(lambda: is_held(sandbox), 60)
    assert "another farmlet command" in sandbox.run("up", code=2).stderr
    first.send_signal(signal.SIGINT)
    _, stderr = first.communicate(timeout=120)
    assert first.returncode == 130
    assert "Traceback" not in stderr
    assert "repeat" in stderr
    sandbox.run("up")
    sandbox.run("plan", code=0)


def test_stopped_and_started_again_keeps_members(sandbox: Sandbox) -> None:
    sandbox.run("user", "add", "carol", "--group", "lab", "--group", "lab/production")
    before = sandbox.json("user", "list")
    sandbox.run("down")
    plan = sandbox.json("plan", code=3)
    assert plan["missing"] == {"head": "stopped", "service": "stopped", "tier1": "stopped"}
    sandbox.run("up")
    assert sandbox.json("user", "list") == before


def test_a_container_removed_by_hand_is_made_again_with_its_data(sandbox: Sandbox) -> None:
    before = sandbox.json("user", "list")
    docker("rm", "-f", sandbox.container("service"))
    sandbox.run("up")
    assert sandbox.json("user", "list") == before


def test_a_site_that_cannot_keep_jobs_apart_runs_none_and_says_why(sandbox: Sandbox) -> None:
    person = Person.join(sandbox, "walt", "lab")
    until(lambda: person.try_ssh("true").returncode == 0, 30)
    sandbox.exec("tier1", "chmod a-x /usr/bin/bwrap")
    try:
        person.ssh("printf 'executable = /bin/true\nrequest_memory = 128\nqueue\n' | condor_submit -")
        until(lambda: gives_up(sandbox), 90)
        assert person.ssh("condor_q -af JobStatus") == "1"
    finally:
        person.ssh("condor_rm -all")
        sandbox.exec("tier1", "chmod a+x /usr/bin/bwrap")
        forget = f"rm -f /home/drone/farmlet-{sandbox.domain}/*.err"
        until(lambda: sandbox.exec("tier1", forget) == "" and not gives_up(sandbox), 60)


def gives_up(sandbox: Sandbox) -> bool:
    """Whether a check tells that drones end because of bubblewrap."""
    said = sandbox.run("check", "overlay", code=None).stdout
    return "drones give up: tier1" in said and "'bwrap'" in said
