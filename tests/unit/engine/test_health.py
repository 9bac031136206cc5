"""When a facility counts as up."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from farmlet.engine import health
from farmlet.engine.deployment import Deployment
from farmlet.engine.report import Report
from farmlet.engine.store import Store
from farmlet.errors import Errors, FarmletError, InputError
from farmlet.facility.model import Facility
from farmlet.parts.part import Part


def row(name: str, ok: bool) -> dict[str, Any]:
    return {"check": name, "node": "head", "ok": ok, "evidence": f"{name} says so", "seconds": 0.1}


@pytest.fixture
def deployment(facility: Facility, parts: Mapping[str, Part], store: Store) -> Deployment:
    return Deployment(facility, parts, (), store, Report(io.StringIO()))


def test_what_is_elsewhere_is_told_and_keeps_nobody_waiting(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    deployment.layout.external.add("storage.keeps.centre")
    monkeypatch.setattr(health, "check_now", lambda *_: [row("a.b", True), row("storage.keeps.centre", False)])
    health.wait_healthy(deployment, seconds=0)
    assert "! head: storage.keeps.centre: storage.keeps.centre says so" in deployment.report._stream.getvalue()  # type: ignore[attr-defined]


def test_what_is_the_facilitys_own_must_hold(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    found = iter([[row("a.b", False), row("a.c", True)], [row("a.b", True)], [row("a.b", True), row("a.c", True)]])
    asked = list[Sequence[str]]()
    monkeypatch.setattr(health, "check_now", lambda _, names: asked.append(names) or next(found))
    health.wait_healthy(deployment)
    assert asked == [[], ["a.b"], []], "while some fail only those are run"
    monkeypatch.setattr(health, "check_now", lambda *_: [row("a.b", False)])
    with pytest.raises(Errors, match=r"a\.b says so"):
        health.wait_healthy(deployment, seconds=0)


def test_what_follows_from_another_check_is_not_told_beside_it(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    deployment.layout.after |= {"b.list": ("b.reader",), "b.reader": ("b.secret", "b.answers"), "c.homes": ("b.reader",)}
    deployment.layout.external.add("b.answers")
    waiting = [row(name, False) for name in ("b.list", "b.reader", "c.homes")]
    monkeypatch.setattr(health, "check_now", lambda *_: [row("b.secret", False), row("b.answers", True), *waiting])
    with pytest.raises(Errors) as caught:
        health.wait_healthy(deployment, seconds=0)
    assert [error.what for error in caught.value.errors] == ["b.secret says so"]
    monkeypatch.setattr(health, "check_now", lambda *_: [row("b.secret", True), row("b.answers", False), *waiting])
    health.wait_healthy(deployment, seconds=0)  # what is outside and away keeps nobody waiting
    told = deployment.report._stream.getvalue()  # type: ignore[attr-defined]
    assert "! head: b.answers: b.answers says so" in told and "b.list" not in told
    found = iter([[row("b.list", False), row("b.reader", True)], [row("b.list", True)], [row("b.list", True)]])
    asked = list[Sequence[str]]()
    monkeypatch.setattr(health, "check_now", lambda _, names: asked.append(names) or next(found))
    health.wait_healthy(deployment)
    assert asked[1] == ["b.list", "b.reader"], (
        "what may tell why is run beside it"
    )  # while nothing stands in its way it is waited for


def test_what_waits_for_a_person_is_told_at_once_and_alone(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    deployment.layout.after |= {"b.list": ("b.secret",)}
    deployment.layout.by_hand.add("b.secret")
    found = [row("c.unit", False), row("b.secret", False), row("b.list", False)]
    monkeypatch.setattr(health, "check_now", lambda *_: found)
    with pytest.raises(Errors) as caught:
        health.wait_healthy(deployment, seconds=float("inf"))
    assert [(error.what, error.hint) for error in caught.value.errors] == [("b.secret says so", "then repeat: farmlet up")]


class Node:
    """What the nodes answer; `ran` are the names their agents were asked for."""

    def __init__(self, names: Sequence[str], silent: str = "") -> None:
        self.names, self.silent, self.ran = names, silent, list[tuple[str, ...]]()

    def __call__(self, node: str, command: Sequence[str], stdin: str = "", timeout: float = 120) -> str:
        if node == self.silent:
            raise FarmletError(node, "no answer within 60 s")
        if command[0] == "cat":
            return json.dumps({"checks": [{"name": name} for name in self.names]})
        wanted = tuple(command[4:])
        self.ran.append(wanted)
        rows = [row(name, True) | {"at": 1.0} for name in self.names]
        return json.dumps([one for one in rows if not wanted or one["check"] in wanted])


def test_a_check_by_name_runs_only_that_check(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node(["a.b", "a.c"])
    monkeypatch.setattr(deployment, "run", node)
    assert {found["check"] for found in health.check_now(deployment, ["a.b"])} == {"a.b"}
    assert node.ran == [("a.b",)] * len(deployment.facility.nodes)


def test_a_name_that_no_check_has_is_refused_with_those_there_are(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deployment, "run", Node(["a.b", "a.c"]))
    with pytest.raises(InputError) as caught:
        health.check_now(deployment, ["a.b", "a.d"])
    assert (caught.value.where, caught.value.hint) == ("check a.d", "checks: a.b, a.c")


def test_a_node_that_does_not_answer_has_failed_whatever_was_asked(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deployment, "run", Node(["a.b"], silent="head"))
    part = next(iter(deployment.layout.parts))
    rows = health.check_now(deployment, [f"{part}.d"])
    assert [(found["node"], found["check"], found["ok"]) for found in rows] == [("head", "base.agent", False)]


def test_a_slip_is_told_beside_a_node_that_does_not_answer(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its checks are not known, but it has none of a part that there is not."""
    monkeypatch.setattr(deployment, "run", Node(["a.b"], silent="head"))
    with pytest.raises(InputError, match=r"check acces\.d"):
        health.check_now(deployment, ["a.b", "acces.d"])
