from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from farmlet.engine.nodes.driver import Machine
from farmlet.engine.nodes.fake import FakeDriver
from farmlet.engine.plan import Change, Target, _changes, fingerprint, observe, spec
from farmlet.errors import FarmletError
from farmlet.parts.resources import Certificate, Command, Environment, Farmlet, File, Resource, Unit, Wanted

MACHINE = Machine("head", "head.tiny.test")
FIRST, SECOND = File("/etc/first", "1"), File("/etc/second", "2")
STEP, TESTED = Command("once", "true"), Command("tested", "true", unless="test -e /x")
SERVICE, STOPPED = Unit("s.service"), Unit("t.service", running=False)


def changes(findings: dict[int, str], *roles: Wanted) -> list[tuple[str, str]]:
    pairs = [(role, resource) for role in roles for resource in role.resources]
    return [(change.resource.label, change.reason) for change in _changes("head", pairs, findings)]


def test_a_unit_follows_what_changed_before_it() -> None:
    role = Wanted("a.b", (FIRST, SERVICE, SECOND))
    assert changes({}, role) == []
    assert changes({0: "differs"}, role) == [("file /etc/first", "differs"), ("unit s.service", "follows what changes before it")]
    assert changes({2: "differs"}, role) == [("file /etc/second", "differs")], "what comes after it does not concern it"
    assert changes({1: "is inactive"}, role) == [("unit s.service", "is inactive")]
    assert changes({0: "differs", 1: "is inactive"}, role)[1] == ("unit s.service", "is inactive"), (
        "its own reason is the better one"
    )


def test_steps_follow_unless_they_have_a_test_of_their_own() -> None:
    role = Wanted("a.b", (FIRST, STEP, TESTED, STOPPED))
    assert [label for label, _ in changes({0: "differs"}, role)] == ["file /etc/first", "step once"]


def test_farmlet_goes_with_its_environment() -> None:
    """Making an environment anew takes out what it does not require: Farmlet must come back before any unit restarts."""
    made = Wanted("a.install", (Environment("/opt/a", "x==1"), Environment("/opt/b", "x==1")))
    role = Wanted("a.b", (Farmlet("/opt/a", "w"), Farmlet("/opt/b", "w"), SERVICE))
    assert [label for label, _ in changes({0: "other requirements"}, made, role)] == [
        "environment /opt/a",
        "farmlet in /opt/a",
        "unit s.service",
    ]


def test_a_chain_is_followed_to_its_end() -> None:
    role = Wanted("a.b", (FIRST, STEP, SERVICE, Unit("u.service")))
    assert len(changes({0: "differs"}, role)) == 4
    assert [label for label, _ in changes({1: "not done"}, role)] == ["step once", "unit s.service", "unit u.service"]


def test_another_role_is_not_concerned() -> None:
    roles = Wanted("a.b", (FIRST,)), Wanted("a.c", (SERVICE,))
    assert changes({0: "differs"}, *roles) == [("file /etc/first", "differs")]


def test_the_fingerprint_is_of_all_that_stands_before() -> None:
    role = Wanted("a.b", (FIRST, STEP, SERVICE, SECOND))
    before = fingerprint(role, SERVICE)
    assert before == fingerprint(replace(role, role="x.y"), SERVICE)
    assert before == fingerprint(Wanted("a.b", (FIRST, STEP, SERVICE)), SERVICE), "what comes later is not part of it"
    others: list[tuple[Resource, ...]] = [
        (replace(FIRST, content="one"), STEP, SERVICE),
        (replace(FIRST, mode=0o600), STEP, SERVICE),
        (FIRST, replace(STEP, run="false"), SERVICE),
        (STEP, FIRST, SERVICE),
        (FIRST, SERVICE),
        (SERVICE,),
    ]
    prints = {fingerprint(Wanted("a.b", resources), SERVICE) for resources in others}
    assert before not in prints and len(prints) == len(others)
    assert fingerprint(role, replace(SERVICE, reload=True)) != before, "and of itself"


def test_stamps_are_of_a_role_and_a_label() -> None:
    assert Change("head", "a.b", SERVICE, "", "").stamp == "a.b: unit s.service"
    assert spec(Wanted("a.b", (SERVICE,)), SERVICE, "")["stamp"] == "a.b: unit s.service", "both sides spell it alike"


def test_contents_stay_here() -> None:
    """The question a node is asked goes through more hands than the payload: it holds hashes, no contents."""
    resources: tuple[Resource, ...] = (
        File("/etc/s", "SECRET"),
        File("/etc/b", b"SECRET"),
        Environment("/opt/e", "SECRET==1"),
        Command("c", "echo SECRET"),
    )
    role = Wanted("a.b", resources)
    for resource in resources:
        text = json.dumps(spec(role, resource, "PEM"))
        assert "SECRET" not in text and b"SECRET".hex() not in text
    assert "SECRET" not in json.dumps([Change("head", "a.b", resource, "x", "y").to_json() for resource in resources])


def test_a_probe_knows_a_certificates_authority() -> None:
    resource = Certificate("/c", "/k", ("a.b",))
    found = spec(Wanted("a.b", (resource,)), resource, "PEM")
    assert (found["authority"], found["renew_days"], found["kind"]) == ("PEM", 10, "Certificate")


class Parrot:
    """A driver and shell that answers every question with the same text."""

    def __init__(self, answer: str) -> None:
        self.answer, self.questions = answer, list[dict[str, Any]]()

    def shell(self, machine: Machine) -> Parrot:
        return self

    def run(self, command: Sequence[str], stdin: str | bytes = "", timeout: float = 120) -> str:
        self.questions.append(json.loads(stdin))
        return self.answer


def test_one_round_trip_for_all_resources() -> None:
    parrot = Parrot(json.dumps({"findings": {"0": "gone", "3": "differs"}, "keys": {"/k": "ssh-ed25519 A"}}))
    install, configure = Wanted("a.install", (FIRST, SECOND)), Wanted("a.b", (STEP, SECOND))
    seen = observe(Target(MACHINE, parrot, (install,), (configure,)))  # type: ignore[arg-type]
    (question,) = parrot.questions
    assert [one["label"] for one in question["resources"]] == [
        "file /etc/first",
        "file /etc/second",
        "step once",
        "file /etc/second",
    ]
    assert [(change.role, change.resource, change.reason) for change in seen.changes] == [
        ("a.install", FIRST, "gone"),
        ("a.b", SECOND, "differs"),
    ]
    assert seen.keys == {"/k": "ssh-ed25519 A"}


def test_nonsense_is_told_with_the_node() -> None:
    with pytest.raises(FarmletError) as caught:
        observe(Target(MACHINE, Parrot("Last login: yesterday\n{}"), (), ()))  # type: ignore[arg-type]
    assert "head" in caught.value.where and "Last login" in caught.value.what


def test_the_fake_answers_like_a_node() -> None:
    driver = FakeDriver()
    driver.ensure(MACHINE)
    target = Target(MACHINE, driver, (), (Wanted("a.b", (FIRST, STEP)),))
    assert [change.reason for change in observe(target).changes] == ["not there", "not there"]
    driver.shell(MACHINE).present.update({FIRST.label, STEP.label})
    assert observe(target).changes == ()
