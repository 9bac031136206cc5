"""`down --purge` leaves the host as it was, to the byte of its hosts file."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from alarms import ask, find_alarms, list_rules
from sandbox import DOMAINS, Sandbox, until

from farmlet.parts.monitoring import rules
from farmlet.parts.monitoring.panels import RECORDED, fill, name_record
from farmlet.parts.monitoring.store import load_panels, load_yaml
from host import docker, keep_images, snapshot
from once import folder

pytestmark = [pytest.mark.facility, pytest.mark.lane("purge"), pytest.mark.timeout(1800)]
SETTLED = 300  # seconds: the parts came one after another, some while after the rules
LEAST = 600  # seconds that are looked at; in a whole run they have long passed


def test_no_alarm_has_fired_where_nothing_was_disturbed(running: Sandbox) -> None:
    began = int(running.exec("service", 'date +%s -d "$(systemctl show -P ActiveEnterTimestamp farmlet-rules)"')) + SETTLED
    time.sleep(max(0.0, began + LEAST - time.time()))
    seconds = int(time.time()) - began
    assert find_alarms(running, f"{seconds}s") == []
    # by rules that were looked at all the while, and still are
    (row,) = ask(running, f"min(count_over_time({name_record(load_panels()[0])}[{seconds}s]))")
    assert int(row["value"][1]) >= seconds // RECORDED - 1
    found = list_rules(running)
    young = f"{datetime.now(UTC) - timedelta(seconds=RECORDED + 60):%Y-%m-%dT%H:%M:%S}"
    assert [rule for rule in found if rule["health"] != "ok" or rule["lastEvaluation"] < young] == []
    assert {rule["name"] for rule in found} >= {alert.name for alert in rules.load()} - {rules.WATCHDOG}


def test_each_panel_has_drawn_something(running: Sandbox) -> None:
    """After the demo and all else that was done with it."""
    of = {"site": "tier1", "node": "head"}
    queries = {(panel["page"], panel["title"]): fill(panel["query"], of.get(panel["page"], ""), 60) for panel in load_panels()}
    queries |= {("report", one["name"]): one["query"].replace("$range", "1d") for one in load_yaml("reports.yaml")}

    def find_empty() -> list[tuple[str, str]]:
        return [title for title, query in queries.items() if not ask(running, f"last_over_time(({query})[1d:1m])")]

    until(lambda: find_empty() == [], 60)


def test_purge_leaves_nothing(before: dict[str, Any], sandbox: Sandbox) -> None:
    others = [Sandbox(folder() / name, name, DOMAINS[name]) for name in DOMAINS if name != sandbox.name]
    for one in [*(other for other in others if other.folder.exists()), sandbox]:
        tag = keep_images(one.folder, one.name)
        one.run("down", "--purge")
        assert not (one.folder / ".farmlet").exists()
        assert not docker("images", "--quiet", tag)
    after = snapshot()
    for what, found in before.items():
        assert after[what] == found, what
    assert "nothing to do" in sandbox.run("down", "--purge").stdout
