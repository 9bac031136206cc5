"""What is counted of the pool."""

from __future__ import annotations

import json
import time

import pytest

from farmlet.parts.batch import metrics
from farmlet.runtime.metrics import Sample, render


def told(samples: list[Sample], label: str) -> dict[str, float]:
    assert render(samples)
    return {sample.labels[label]: sample.value for sample in samples}


def test_jobs_by_status(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [*({"JobStatus": status} for status in (1, 2, 1, 5, "1 1", None, [1], 10**400)), {}, "job"]
    monkeypatch.setattr(metrics, "run", lambda *command: json.dumps(rows))
    found = {tuple(one.labels.values()): one.value for one in metrics.count_jobs(["lab"], ["tier1"]) if one.name == "batch_jobs"}
    assert (found["idle", "other", ""], found["running", "other", "local"], found["held", "other", ""]) == (2, 1, 1)
    assert found["completed", "lab", ""] == 0


def test_jobs_by_group_and_site_and_who_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    rows = [
        {"JobStatus": 2, "AcctGroup": "lab", "MachineAttrFarmletSite0": "tier1"},
        {"JobStatus": 2, "AcctGroup": "mine", "MachineAttrFarmletSite0": "elsewhere"},
        *({"JobStatus": 1, "AcctGroup": "lab", "EnteredCurrentStatus": int(now) - age} for age in (5, 100, 30)),
        {"JobStatus": 1, "AcctGroup": "lab", "EnteredCurrentStatus": "/Expr(0)/"},
    ]
    monkeypatch.setattr(metrics, "run", lambda *command: json.dumps(rows))
    samples = metrics.count_jobs(["lab"], ["tier1"])
    jobs = {tuple(one.labels.values()): one.value for one in samples if one.name == "batch_jobs"}
    assert (jobs["running", "lab", "tier1"], jobs["running", "other", "local"], jobs["idle", "lab", ""]) == (1, 1, 4)
    (wait,) = [one.value for one in samples if one.name == "batch_waiting"]
    assert 100 <= wait < 160 and render(samples)


def test_no_site_invents_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "run", lambda *command: 'Claimed\nUnclaimed\nClaimed\nundefined\nx"y\n')
    found = told(metrics.count_slots("host"), "state")
    assert (found["claimed"], found["unclaimed"], found["other"]) == (2, 1, 2) and 'x"y' not in found
