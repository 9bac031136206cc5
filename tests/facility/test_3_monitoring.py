"""Monitoring in the whole facility: numbers of all nodes, a page for members and nobody else, nothing that members may write."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path

import pytest
from alarms import ask, fetch, find_alarms
from chromium import Window
from person import PASSWORD, Person
from sandbox import Sandbox, until
from screen import open_screen

from farmlet.parts.monitoring import rules
from farmlet.parts.monitoring.panels import fill
from farmlet.parts.monitoring.rules import widen
from farmlet.parts.monitoring.store import load_panels

pytestmark = [pytest.mark.facility, pytest.mark.usefixtures("running"), pytest.mark.timeout(600)]
# what a member tries on head: nothing of monitoring listens there
TRIES = r"""
python3 - <<'EOF'
import json, socket
def reach(port):
    try:
        socket.create_connection(("127.0.0.1", port), 2).close()
        return True
    except OSError:
        return False
print(json.dumps([port for port in (8428, 8429, 8880, 9093, 9094, 9100) if reach(port)]))
EOF
"""

SAMPLE = b"farmlet_check_ok 1\n"


@pytest.fixture(autouse=True)
def _monitored(running: Sandbox) -> None:
    if "monitoring" not in running.report["endpoints"]:
        pytest.skip("no node of this sandbox runs monitoring")


def test_numbers_of_every_node_are_there_and_young(sandbox: Sandbox, running: Sandbox) -> None:
    rows = {row["check"]: row for row in sandbox.json("check", "monitoring")}
    assert rows["monitoring.store.nodes"]["ok"] and "2 nodes" in rows["monitoring.store.nodes"]["evidence"]
    found = {(row["metric"]["node"], row["metric"]["instance"]) for row in ask(sandbox, "up")}  # type: ignore[index]
    assert found == {(node, f"{node}.{sandbox.domain}") for node in ("head", "service")}
    # tests of sites have results when a job of theirs has come back, which is their own tests' business
    panels = [panel for panel in load_panels() if not re.search("sitetests_(result|score)", panel["query"])]
    # so have jobs when some have ended, and files when they were counted; a site and a node have the panels that others have
    late = ("farmlet_batch_", "storage_used", "storage_counted")
    panels = [panel for panel in panels if not any(word in panel["query"] for word in late)]
    of = {"site": "tier1", "node": "head"}
    wanted = {(panel["page"], panel["title"]): fill(panel["query"], of.get(panel["page"], ""), 60) for panel in panels}
    until(lambda: not [title for title, query in wanted.items() if not ask(sandbox, query)], 60)


def test_the_page_is_for_members(sandbox: Sandbox, running: Sandbox) -> None:
    person, url = Person.join(sandbox, "mona", "lab"), f"https://monitoring.{sandbox.domain}"
    assert sandbox.json("status", code=None)["endpoints"]["monitoring"] == url
    assert fetch(sandbox, f"{url}/data", **{"Sec-Fetch-Mode": "cors"})[0] == 401
    page = person.browser.sign_in(person.browser.open(f"{url}/"), "mona", PASSWORD)
    assert page.url == f"{url}/" and "mona" in page.text
    told = person.browser.call("GET", f"{url}/data?page=node&of=head", {})
    # single nodes are for who administers
    assert told["title"] == "The facility at a glance" and {row["page"] for row in told["menu"]} >= {"queue", "storage"}, told
    assert not any(row["of"] in ("head", "service") for row in told["menu"]) and fetch(sandbox, f"{url}/status")[0] == 200


@pytest.fixture(scope="module")
def adam(sandbox: Sandbox, running: Sandbox) -> Person:
    """An admin."""
    return Person.join(sandbox, "adam", "lab/admins")


def test_admins_see_each_node(sandbox: Sandbox, adam: Person) -> None:
    url = f"https://monitoring.{sandbox.domain}"
    page = adam.browser.sign_in(adam.browser.open(f"{url}/"), "adam", PASSWORD)
    assert page.url == f"{url}/"
    told = adam.browser.call("GET", f"{url}/data?page=node&of=head", {})
    assert told["title"] == "Node head" and [panel["title"] for panel in told["panels"] if not panel["series"]] == [], told


# page of monitoring → what is to be read there
SHOWN = {
    "facility": "Nodes that send numbers",
    "queue": "Slots of the pool",
    "overlay": "Cores that the queues ask drones for",
    "sitetests": "sitetests.site.tier1",
    "notebooks": "How long the Hub takes to answer",
    "storage": "Storage left",
    "identity": "Members who logged in within 30 days",
    "report": "Members who logged in within the 30 days before",
    "site&of=tier1": "New drones may come",
    "node&of=head": "File systems",
}


def test_every_page_in_a_browser_after_one_log_in(sandbox: Sandbox, adam: Person, tmp_path: Path) -> None:
    homes = [f"https://{name}.{sandbox.domain}" for name in ("monitoring", "sitetests", "service")]
    folder = Path(os.environ.get("FARMLET_SCREENSHOTS") or tmp_path)
    with open_screen(adam) as context:
        context.clear_cookies()  # it begins as anybody
        window = Window(context.new_page(), folder, *homes)
        window.open(f"{homes[0]}/")
        window.log_in("adam", PASSWORD)
        for page, text in SHOWN.items():
            window.open(f"{homes[0]}/?page={page}")
            window.page.locator("#panels canvas, #panels td").first.wait_for()
            judge(window, f"facility-{page.replace('&of=', '-')}", text)
        window.open(f"{homes[1]}/")
        judge(window, "facility-sitetests-matrix", "tier1", "storage")


def judge(window: Window, name: str, *texts: str) -> None:
    """These are to be read there, and nothing is wrong with the page; a picture is kept."""
    window.page.screenshot(path=window.folder / f"{name}.png", full_page=True)
    assert [text for text in texts if text not in window.text] + window.ask_axe() + window.faults == [], (name, window.text)


# ended by 1 at once, as all jobs on a machine where nothing works; and one that nobody takes
FAILING = "executable = /bin/false\nrequirements = TARGET.FarmletSite =!= undefined\nrequest_memory = 128\nqueue 3"
WAITING = "executable = /bin/true\nrequirements = false\nrequest_memory = 128\nqueue"
PROBE = "farmlet-probe.service"


def test_alarms_and_reports_see_a_unit_that_failed_and_jobs_that_fail_or_wait(sandbox: Sandbox, adam: Person) -> None:
    """The numbers by real ones, out of which tests/service/monitoring/test_broken.py makes alarms."""
    person = Person.join(sandbox, "bela", "lab")
    failed = 'sum(farmlet_batch_quick_failures_total{site="tier1",group="lab"})'
    before = sum(float(row["value"][1]) for row in ask(sandbox, failed))  # type: ignore[index]
    sandbox.exec("head", f"systemd-run --quiet --no-block --unit={PROBE} sh -c 'exit 1'")
    for text in (FAILING, WAITING):
        submit = f"cat > probe.sub <<'.'\n{text}\n.\ncondor_submit -terse probe.sub"
        until(lambda submit=submit: person.try_ssh(submit).returncode == 0, 30)  # type: ignore[misc]
    (rule,) = [alert for alert in rules.load() if alert.name == "UnitDown"]
    until(lambda: PROBE in str(ask(sandbox, widen(rule.expr, 60))), 90)
    sandbox.exec("head", f"systemctl reset-failed {PROBE}")
    until(lambda: ask(sandbox, 'farmlet_batch_waiting_seconds{group="lab"} > 10'), 90)
    until(lambda: ask(sandbox, f"{failed} >= {before + 3}"), 120)
    person.ssh("condor_rm -all")
    # and they are in what admins are asked
    page = f"https://monitoring.{sandbox.domain}/report.csv?name=jobs&range=86400"
    adam.browser.sign_in(adam.browser.open(page), "adam", PASSWORD)
    until(lambda: "lab,tier1,failed," in adam.browser.open(page).text, 15)


@pytest.mark.soak
@pytest.mark.timeout(2 * 3600)
def test_an_hour_without_an_alarm(sandbox: Sandbox, running: Sandbox) -> None:
    time.sleep(3600)
    assert find_alarms(sandbox, "1h") == []


def test_members_write_nothing(sandbox: Sandbox, running: Sandbox) -> None:
    person = Person.join(sandbox, "nils", "lab")
    until(lambda: person.try_ssh("true").returncode == 0, 30)
    assert json.loads(person.ssh(TRIES)) == []
    assert person.try_ssh("cat /etc/farmlet/tls/vmagent.key").returncode
    # a node's name in a header is no certificate, on either name of the service
    for host in ("service", "monitoring"):
        address = f"https://{host}.{sandbox.domain}/monitoring/write"
        assert fetch(sandbox, address, SAMPLE, **{"X-Farmlet-Node": f"CN=head.{sandbox.domain}"})[0] == 403
    assert fetch(sandbox, f"https://monitoring.{sandbox.domain}/api/v1/write", SAMPLE)[0] == 403
