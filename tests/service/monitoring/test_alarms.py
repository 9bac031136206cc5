"""Each alarm by its own test, and each panel's query, as Prometheus reads them."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from farmlet.parts.monitoring import rules
from farmlet.parts.monitoring.panels import fill
from farmlet.parts.monitoring.store import load_panels, load_yaml

pytestmark = pytest.mark.service
ALERTS = rules.load()
URL = "https://monitoring.farmlet.test/"


def run_promtool(*words: str) -> str:
    done = subprocess.run(["promtool", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def expect(alert: rules.Alert, at: str, fires: dict[str, Any] | None) -> dict[str, Any]:
    """What promtool is to find of the alarm at this time."""
    notes = {"runbook": f"{URL}#{alert.name}"}
    found = [
        {
            "exp_labels": {**fires["labels"], "severity": alert.severity},
            "exp_annotations": {**notes, "summary": fires["summary"]},
        }
        for fires in ([fires] if fires else [])
    ]
    return {"eval_time": at, "alertname": alert.name, "exp_alerts": found}


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_an_alarm_fires_and_clears(alert: rules.Alert, tmp_path: Path) -> None:
    (tmp_path / "rules.json").write_text(rules.render([alert], ["head", "service"], URL, 15))
    run_promtool("check", "rules", str(tmp_path / "rules.json"))
    assert any(test.get("fires") for test in alert.tests) and any(test.get("quiet") for test in alert.tests)
    tests = []
    for test in alert.tests:
        moments = [(row["at"], row) for row in test.get("fires", ())] + [(at, None) for at in test.get("quiet", ())]
        series = [{"series": name, "values": values} for name, values in test["series"].items()]
        wanted = [expect(alert, at, row) for at, row in moments]
        tests.append({"interval": "15s", "input_series": series, "alert_rule_test": wanted})
    page = {"rule_files": ["rules.json"], "evaluation_interval": "15s", "tests": tests}
    (tmp_path / "test.json").write_text(json.dumps(page))
    run_promtool("test", "rules", str(tmp_path / "test.json"))


LATE = 180  # seconds that an alarm may come and clear later where numbers come once a minute


def thin(values: str, late: int) -> str:
    """Of a series as promtool writes it, each 15 s, one number a minute, each 10 s: `1+2x3` are four. It comes that many seconds
    late, and is as old as the rest of the minute when it is looked at."""
    found = list[str]()
    for word in values.split():
        if many := re.fullmatch(r"(-?[\d.]+|_)([+-][\d.]+)?x(\d+)", word):
            first, step, count = many[1], float(many[2] or 0), int(many[3]) + 1 - (many[1] == "_")
            found += [first if first == "_" else str(float(first) + step * number) for number in range(count)]
        else:
            found.append(word)
    before, after = ["_"] * (late // 10), ["_"] * (5 - late // 10)
    return " ".join(" ".join([*before, number, *after]) for number in found[::4])


def ask_late(alert: rules.Alert, at: str, fires: dict[str, Any] | None) -> dict[str, Any]:
    """What promtool is to find at this time and a while after: somewhen it fires, with these labels, or somewhen it does not."""
    labels = {"alertname": alert.name, "alertstate": "firing", **(fires["labels"] if fires else {})}
    shown = ",".join(f"{name}={json.dumps(value)}" for name, value in labels.items())
    over = "max" if fires else "min"
    query = f"{over}_over_time((count(ALERTS{{{shown}}}) or vector(0))[{LATE + 1}s:60s]) > bool 0"
    seconds = int(at[:-1]) * {"s": 1, "m": 60, "h": 3600}[at[-1]] + LATE
    return {"expr": query, "eval_time": f"{seconds}s", "exp_samples": [{"labels": "{}", "value": int(bool(fires))}]}


@pytest.mark.parametrize("shifted", [10, 50], ids=["together", "one 40 s later"])
@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_an_alarm_fires_and_clears_also_where_numbers_come_late_and_once_a_minute(
    alert: rules.Alert, shifted: int, tmp_path: Path
) -> None:
    (tmp_path / "rules.json").write_text(rules.render([alert], ["head", "service"], URL, 60))
    tests = []
    for test in alert.tests:
        lates = [shifted, *[10] * (len(test["series"]) - 1)]
        series = [
            {"series": name, "values": thin(values, late)}
            for (name, values), late in zip(test["series"].items(), lates, strict=True)
        ]
        moments = [(row["at"], row) for row in test.get("fires", ())] + [(at, None) for at in test.get("quiet", ())]
        wanted = [ask_late(alert, at, row) for at, row in moments]
        tests.append({"interval": "10s", "input_series": series, "promql_expr_test": wanted})
    page = {"rule_files": ["rules.json"], "evaluation_interval": "60s", "tests": tests}
    (tmp_path / "test.json").write_text(json.dumps(page))
    run_promtool("test", "rules", str(tmp_path / "test.json"))


def test_what_fails_at_many_sites_is_one_alarm(tmp_path: Path) -> None:
    """Gates stay open and the checks of sites hold; see `test_many_sites` of the unit tests."""
    alerts = [alert for alert in ALERTS if alert.name in ("CheckFailing", "SiteClosed", "TestsFrozen")]
    (tmp_path / "rules.json").write_text(rules.render(alerts, ["head", "service"], URL, 15))
    found = {"farmlet_check_ok{check='sitetests.service'}": 0, "farmlet_sitetests_frozen{test='storage'}": 1}
    for site in ("tier1", "hpc", "cloud"):
        found |= {f"farmlet_check_ok{{check='sitetests.site.{site}'}}": 1, f"farmlet_sitetests_open{{site='{site}'}}": 1}
    series = [{"series": name, "values": f"{value}x40"} for name, value in found.items()]
    wanted = [{"labels": 'ALERTS{alertname="TestsFrozen",alertstate="firing",severity="critical",test="storage"}', "value": 1}]
    query = {"expr": "ALERTS", "eval_time": "8m", "exp_samples": wanted}
    page = {"interval": "15s", "input_series": series, "promql_expr_test": [query]}
    (tmp_path / "test.json").write_text(json.dumps({"rule_files": ["rules.json"], "evaluation_interval": "15s", "tests": [page]}))
    run_promtool("test", "rules", str(tmp_path / "test.json"))


def test_queries_of_all_panels_are_promql(tmp_path: Path) -> None:
    queries = [fill(one["query"], "head", 60) for one in load_panels()]
    queries += [one["query"].replace("$range", "30d") for one in load_yaml("reports.yaml")]
    found = [{"record": f"panel:{number}", "expr": query} for number, query in enumerate(queries)]
    (tmp_path / "panels.json").write_text(json.dumps({"groups": [{"name": "panels", "rules": found}]}))
    assert f"{len(found)} rules found" in run_promtool("check", "rules", str(tmp_path / "panels.json"))
