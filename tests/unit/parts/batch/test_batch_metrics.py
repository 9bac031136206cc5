"""What is counted of the pool."""

from __future__ import annotations

import json

import pytest

from farmlet.parts.batch import metrics
from farmlet.runtime.metrics import Sample, render


def told(samples: list[Sample], label: str) -> dict[str, float]:
    assert render(samples)
    return {sample.labels[label]: sample.value for sample in samples}


def test_jobs_by_status(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [*({"JobStatus": status} for status in (1, 2, 1, 5, "1 1", None, [1], 10**400)), {}, "job"]
    monkeypatch.setattr(metrics, "run", lambda *command: json.dumps(rows))
    found = told(metrics.count_jobs(), "status")
    assert (found["idle"], found["running"], found["held"], found["completed"]) == (2, 1, 1, 0)


def test_no_site_invents_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "run", lambda *command: 'Claimed\nUnclaimed\nClaimed\nundefined\nx"y\n')
    found = told(metrics.count_slots("host"), "state")
    assert (found["claimed"], found["unclaimed"], found["other"]) == (2, 1, 2) and 'x"y' not in found
