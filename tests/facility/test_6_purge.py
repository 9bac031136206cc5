"""`down --purge` leaves the host as it was, to the byte of its hosts file."""

from __future__ import annotations

import time
from typing import Any

import pytest
from alarms import ask, find_alarms
from sandbox import DOMAINS, Sandbox, until

from farmlet.parts.monitoring.panels import fill
from farmlet.parts.monitoring.store import load_panels
from host import docker, keep_images, snapshot
from once import folder

pytestmark = [pytest.mark.facility, pytest.mark.lane("purge"), pytest.mark.timeout(600)]
SETTLED = 300  # seconds after the first number


def test_no_alarm_has_fired_where_nothing_was_disturbed(running: Sandbox) -> None:
    (row,) = ask(running, "min(tfirst_over_time(up[1d]))")
    # its parts came one after another, some while after the first number
    whole = int(time.time() - float(row["value"][1])) - SETTLED
    if whole < 60:
        pytest.skip("it has not been up for long")
    assert find_alarms(running, f"{whole}s") == []


def test_each_panel_has_drawn_something(running: Sandbox) -> None:
    """After the demo and all else that was done with it."""
    of = {"site": "tier1", "node": "head"}
    queries = {(panel["page"], panel["title"]): fill(panel["query"], of.get(panel["page"], ""), 60) for panel in load_panels()}

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
