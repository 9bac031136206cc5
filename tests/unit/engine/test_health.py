"""When a facility counts as up."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import pytest

from farmlet.engine import health
from farmlet.engine.deployment import Deployment
from farmlet.engine.report import Report
from farmlet.engine.store import Store
from farmlet.errors import Errors
from farmlet.facility.model import Facility
from farmlet.parts.part import Part


def row(name: str, ok: bool) -> dict[str, Any]:
    return {"check": name, "node": "head", "ok": ok, "evidence": f"{name} says so", "seconds": 0.1}


@pytest.fixture
def deployment(facility: Facility, parts: Mapping[str, Part], store: Store) -> Deployment:
    return Deployment(facility, parts, (), store, Report(io.StringIO()))


def test_what_is_elsewhere_is_told_and_keeps_nobody_waiting(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    deployment.layout.outside.add("storage.keeps.centre")
    monkeypatch.setattr(health, "check_now", lambda _: [row("a.b", True), row("storage.keeps.centre", False)])
    health.wait_healthy(deployment, seconds=0)
    assert "! head: storage.keeps.centre: storage.keeps.centre says so" in deployment.report._stream.getvalue()  # type: ignore[attr-defined]


def test_what_is_the_facilitys_own_must_hold(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    found = iter([[row("a.b", False)], [row("a.b", True)]])
    monkeypatch.setattr(health, "check_now", lambda _: next(found))
    health.wait_healthy(deployment)
    monkeypatch.setattr(health, "check_now", lambda _: [row("a.b", False)])
    with pytest.raises(Errors, match=r"a\.b says so"):
        health.wait_healthy(deployment, seconds=0)
