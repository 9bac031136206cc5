"""Tests of the site, by real jobs in its own queue; one of the collaboration's that fails keeps drones away, until it passes."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from typing import Any

import pytest
from person import PASSWORD, Person
from sandbox import Sandbox, until

from host import docker

pytestmark = [pytest.mark.facility, pytest.mark.usefixtures("running"), pytest.mark.timeout(300)]

OWN = "/etc/farmlet/sitetests"
WEATHER = """#!/bin/sh
echo "dry at $FARMLET_SITE|rain=3mm"
id -un
[ ! -e storm ] || exit 2
"""
STORM = "files = ['storm']\n"


def put(sandbox: Sandbox, name: str, text: str) -> None:
    sandbox.exec("service", f"printf %s {shlex.quote(text)} > {OWN}/{name}")


def find_site(sandbox: Sandbox) -> dict[str, Any]:
    (site,) = sandbox.json("sitetest", "list")["sites"]
    return dict(site)


@pytest.fixture
def weather(sandbox: Sandbox, running: Sandbox) -> Iterator[str]:
    """A test of the collaboration's, which passes."""
    put(sandbox, "weather", WEATHER)
    yield "weather"
    sandbox.exec("service", f"cd {OWN} && rm -f weather weather.toml storm odd.py")


def test_shipped_and_own_tests_run_at_the_site_and_are_shown(sandbox: Sandbox, weather: str) -> None:
    found = {row["test"]: row for row in sandbox.json("sitetest", "run")}
    assert set(found) == {"queue", "network", "storage", "image", "room", "clock", "power", "token", "cvmfs", weather}
    assert {name: row["text"] for name, row in found.items() if row["result"] != "ok"} == {}
    (shown,) = sandbox.json("sitetest", "show", weather, "--site", "tier1")
    assert (shown["text"], shown["numbers"]) == ("dry at tier1", {"rain": {"value": 3.0, "unit": "mm"}})
    assert shown["output"].splitlines()[1] == "drone"
    assert "fetches nothing" not in found["storage"]["text"], "third-party copies"
    assert found["power"]["numbers"]["score"]["value"] > 0 and "2 keep 1048576 bytes" in found["storage"]["text"]
    # nothing of it stays there
    until(lambda: not sandbox.exec("tier1", "find /home/drone/farmlet-sitetests-* -name result.json"), 30)
    assert all(row["ok"] for row in sandbox.json("check", "sitetests"))


def test_the_pages_are_for_members_and_what_was_printed_for_admins(sandbox: Sandbox, weather: str) -> None:
    sandbox.run("sitetest", "run", weather)
    url = f"https://sitetests.{sandbox.domain}"
    assert sandbox.json("status", code=None)["endpoints"]["sitetests"] == url
    for name, group, sees in (("sita", "lab", False), ("sven", "lab/admins", True)):
        person = Person.join(sandbox, name, group)
        page = person.browser.sign_in(person.browser.open(f"{url}/"), name, PASSWORD)
        assert page.url == f"{url}/" and "tier1" in page.text and weather in page.text
        found = person.browser.open(f"{url}/result?site=tier1&test={weather}").text
        assert "dry at tier1" in found and ("What it printed" in found) is sees


@pytest.mark.disturbs("overlay", "sitetests")
def test_what_fails_closes_the_gate_and_what_passes_opens_it(sandbox: Sandbox, weather: str) -> None:
    began = sandbox.exec("service", "date +%s")
    log = f"journalctl -u farmlet-overlay.service -o cat --since @{began}"
    put(sandbox, "storm", "")
    put(sandbox, "weather.toml", STORM)
    put(sandbox, "odd.py", "def test(")
    found = {row["test"]: row["result"] for row in sandbox.json("sitetest", "run", weather, code=1)}
    assert found == {"queue": "ok", weather: "critical"}
    # the service runs it once more by itself
    until(lambda: not find_site(sandbox)["open"], 60)
    assert "weather: dry at tier1" in find_site(sandbox)["reason"]
    until(lambda: "no new drones for tier1" in sandbox.exec("service", log), 30)
    failed = {row["check"]: row["evidence"] for row in sandbox.json("check", "sitetests", code=1) if not row["ok"]}
    assert set(failed) == {"sitetests.service", "sitetests.site.tier1"}
    assert "odd.py: is no Python" in failed["sitetests.service"]
    sandbox.exec("service", f"cd {OWN} && rm odd.py storm weather.toml")
    sandbox.run("sitetest", "run", weather)
    until(lambda: find_site(sandbox)["open"], 30)
    until(lambda: "drones may go to tier1 again" in sandbox.exec("service", log), 30)


DRONES = "condor_q -all -constraint 'FarmletRun =?= undefined' -af ClusterId"  # in the site's queue
AT_SITE = 'executable = /bin/true\nrequirements = TARGET.FarmletSite == "tier1"\nlog = jobs.log\nqueue\n'


@pytest.mark.soak
@pytest.mark.disturbs("overlay", "sitetests")
def test_behind_a_closed_gate_the_last_drone_goes_and_a_job_brings_no_other(sandbox: Sandbox, weather: str) -> None:
    selma = Person.join(sandbox, "selma", "lab")
    until(lambda: selma.try_ssh("true").returncode == 0, 30)
    submit = f"printf %s {shlex.quote(AT_SITE)} | condor_submit -terse -"
    selma.ssh(submit)
    until(lambda: not selma.ssh("condor_q -af ClusterId"), 120)
    assert sandbox.exec("tier1", DRONES), "it is idle, and waits a while for more"
    put(sandbox, "storm", "")
    put(sandbox, "weather.toml", STORM)
    sandbox.run("sitetest", "run", weather, code=1)
    until(lambda: not find_site(sandbox)["open"], 60)
    selma.ssh(submit)
    until(lambda: not sandbox.exec("tier1", DRONES), 60)
    # the controller has seen the job, and orders nothing for it
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert not sandbox.exec("tier1", DRONES)
        time.sleep(1)
    assert selma.ssh("condor_q -af JobStatus") == "1"
    sandbox.exec("service", f"cd {OWN} && rm storm weather.toml")
    sandbox.run("sitetest", "run", weather)
    until(lambda: not selma.ssh("condor_q -af ClusterId"), 120)


TALLY = "#!/bin/sh\n# /// sitetest\n# every = 864000\n# ///\necho $$ >> /home/drone/tally\n"
SHUT = "/etc/condor/config.d/99-shut.config"
COUNT = """
import sqlite3, sys
base = sqlite3.connect("/var/lib/farmlet/sitetests/results.sqlite3")
jobs = "FROM job WHERE tests LIKE '%tally%' AND made > " + sys.argv[1]
results = "FROM result WHERE test = 'tally' AND job IN (SELECT name " + jobs + ")"
for what in ("count(*), sum(state = 'done') " + jobs, "count(*), count(DISTINCT job), max(code) " + results):
    print(*base.execute("SELECT " + what).fetchone(), end=" ")
"""


@pytest.mark.soak
@pytest.mark.disturbs()
@pytest.mark.timeout(900)
def test_machines_that_start_anew_lose_no_result_and_double_none(sandbox: Sandbox) -> None:
    """The control node's and the site's, cut off from power while jobs wait in the site's queue."""
    count = f"/opt/farmlet/service/bin/python -c {shlex.quote(COUNT)} {sandbox.exec('service', 'date +%s')}"
    sandbox.exec("tier1", f"rm -f /home/drone/tally; echo START = False > {SHUT}; condor_reconfig")
    try:
        put(sandbox, "tally", TALLY)
        until(lambda: "tally" in str(sandbox.json("sitetest", "list")["tests"]), 30)
        for number, node in enumerate(("service", "tier1", "service"), start=1):
            sandbox.run("sitetest", "run", "tally", "--wait", "1", code=None)
            queued = f"{DRONES.replace('=?=', '=!=')} | wc -l"
            until(lambda queued=queued, number=number: int(sandbox.exec("tier1", queued)) >= number, 60)
            docker("kill", sandbox.container(node))
            sandbox.run("up")
        sandbox.exec("tier1", f"rm {SHUT}; condor_reconfig")
        until(lambda: sandbox.exec("service", count).split()[1] == "3", 120)
        assert sandbox.exec("service", count) == "3 3 3 3 0"
        assert len(sandbox.exec("tier1", "cat /home/drone/tally").split()) == 3, "each ran once"
    finally:
        sandbox.exec("tier1", f"rm -f {SHUT} /home/drone/tally; condor_reconfig")
        sandbox.exec("service", f"rm -f {OWN}/tally")
