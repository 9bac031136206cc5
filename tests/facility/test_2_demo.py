"""The main job, as a new member; and what it says when a node dies meanwhile."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from conftest import Sandbox, docker, until

JWT = "eyJ[A-Za-z0-9_-]{16,}[.]eyJ"  # header and claims of a token, base64 of `{"`
pytestmark = [pytest.mark.facility, pytest.mark.usefixtures("running"), pytest.mark.timeout(900)]


def test_demo(sandbox: Sandbox) -> None:
    report = sandbox.json("demo")
    assert report["ok"], report
    assert len(report["steps"]) == 7
    assert all(step["ok"] and step["evidence"] for step in report["steps"])
    assert 90.0 < report["result"]["mass"] < 91.5
    plot = Path(report["plot"]).read_bytes()
    assert plot.startswith(b"\x89PNG")
    assert len(plot) > 20_000
    member = report["result"]["member"]
    assert "tier1" in next(step["evidence"] for step in report["steps"] if "site" in step["name"] and "jobs" in step["name"])
    _assert_no_token_lies_around(sandbox, member)


def _assert_no_token_lies_around(sandbox: Sandbox, member: str) -> None:
    """JWTs begin with the same letters; none is in the member's files on head."""
    home = sandbox.exec("head", f"grep -rlE '{JWT}' /home/{member} || true")
    assert home == ""
    submitted = sandbox.exec("head", f"cat /home/{member}/farmlet-demo/*.sub")
    assert "use_oauth_services" in submitted
    assert not re.search(JWT, submitted)


def test_the_site_carries_none_of_the_software(sandbox: Sandbox) -> None:
    probe = "python3 -c 'import uproot' 2>&1 || true"
    assert "ModuleNotFoundError" in docker("exec", sandbox.container("tier1"), "sh", "-c", probe)


def test_members_cannot_administer_the_pool(sandbox: Sandbox) -> None:
    member = next(row["name"] for row in sandbox.json("user", "list"))
    said = sandbox.exec("head", f"runuser -u {member} -- condor_off -all 2>&1 || true")
    assert "DENIED" in said or "rror" in said or "Can't" in said
    sandbox.run("check", "batch")


def test_explain_names_the_lines_of_the_file(sandbox: Sandbox) -> None:
    member = next(row["name"] for row in sandbox.json("user", "list"))
    text = sandbox.run("explain", member).stdout
    lines = (sandbox.folder / "facility.yaml").read_text().splitlines()
    number = next(index for index, line in enumerate(lines, 1) if line.strip() == "lab:")
    assert f"group lab (line {number} of the facility file)" in text
    assert f"storage.modify:/users/{member}" in text


def test_break_glass_token_is_audited(sandbox: Sandbox) -> None:
    member = next(row["name"] for row in sandbox.json("user", "list"))
    words = ("--as", member, "--scope", "storage.read:/", "--audience", "https://wlcg.cern.ch/jwt/v1/any", "--reason", "a test")
    token = sandbox.run("token", *words).stdout.strip()
    assert token.count(".") == 2
    assert "a test" in sandbox.exec("service", "cat /var/lib/farmlet/identity/audit.log")


def test_a_node_killed_meanwhile_is_told_with_step_and_place(sandbox: Sandbox) -> None:
    process = sandbox.start("demo", "--json")
    until(lambda: len(list_drones(sandbox, running=True)) == 4, 90)  # their jobs start within seconds, none can have ended
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
