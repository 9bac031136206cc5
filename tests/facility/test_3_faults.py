"""What is changed by hand is seen and mended; `up` may end anywhere and is simply repeated."""

from __future__ import annotations

import signal
import time

import pytest
from conftest import Sandbox, docker, kill_group

pytestmark = [pytest.mark.facility, pytest.mark.usefixtures("running"), pytest.mark.timeout(900)]


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


def _make_work(sandbox: Sandbox) -> None:
    """Something for `up` to do on two nodes that takes it a while."""
    for node in ("head", "service"):
        sandbox.exec(node, "rm -f /etc/farmlet/ca.pem /opt/farmlet/base/.farmlet /etc/sssd/sssd.conf; systemctl stop sssd")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
@pytest.mark.parametrize("after", [2.0, 6.0])
def test_up_ended_half_way_is_repeated_to_success(sandbox: Sandbox, number: signal.Signals, after: float) -> None:
    _make_work(sandbox)
    process = sandbox.start("up")
    time.sleep(after)
    kill_group(process, number)
    assert process.returncode != 0
    sandbox.run("up")
    sandbox.run("plan", code=0)


def test_interrupt_is_told_in_words(sandbox: Sandbox) -> None:
    _make_work(sandbox)
    process = sandbox.start("up")
    time.sleep(4)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert "repeat" in stderr
    sandbox.run("up")


def test_two_ups_at_once_one_is_refused(sandbox: Sandbox) -> None:
    _make_work(sandbox)
    first = sandbox.start("up")
    time.sleep(4)
    done = sandbox.run("up", code=2)
    assert "another farmlet command" in done.stderr
    first.communicate(timeout=600)
    assert first.returncode == 0


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
    assert sandbox.json("demo")["ok"]
