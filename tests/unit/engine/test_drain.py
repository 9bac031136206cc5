"""A node that leaves: refused while something would be missed, closed before it is looked at, forgotten at the end."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from farmlet.engine import deployment as module
from farmlet.engine.deployment import Deployment
from farmlet.engine.drain import Drain
from farmlet.engine.nodes.fake import FakeDriver
from farmlet.engine.preflight import Busy
from farmlet.engine.report import Report
from farmlet.engine.store import Store
from farmlet.errors import Errors, InputError
from farmlet.facility.load import loads
from farmlet.facility.model import Facility
from farmlet.parts.part import Leave, Part

TEXT = """\
farmlet: 1
facility: {name: tiny, domain: tiny.test}
nodes:
  head: {connect: fake, runs: [upper, lower]}
  second: {connect: fake, runs: [lower]}
  service: {connect: fake, runs: [identity]}
"""
WITHOUT = "\n".join(line for line in TEXT.splitlines() if "second" not in line)
Open = Callable[[str], Deployment]


@pytest.fixture
def driver() -> FakeDriver:
    return FakeDriver()


@pytest.fixture
def leavers(parts: Mapping[str, Part]) -> dict[str, Part]:
    """`lower.ground` has data and a way to leave, `upper.roof` has data and none."""
    lower = parts["lower"]
    ground = replace(lower.roles[0], data=("/srv/lower",), leave=Leave(close="shut", open="unshut", busy="who"))
    return dict(parts) | {"lower": replace(lower, roles=(ground,))}


@pytest.fixture
def open_up(leavers: dict[str, Part], store: Store, driver: FakeDriver, monkeypatch: pytest.MonkeyPatch) -> Open:
    monkeypatch.setattr(module, "check_host", lambda *_: None)
    monkeypatch.setattr(module.Deployment, "_converge", lambda _: None)

    def opened(text: str) -> Deployment:
        facility: Facility = loads(text, "facility.yaml", leavers, store.path.parent.parent)
        made = Deployment(facility, leavers, (), store, Report(io.StringIO()))
        monkeypatch.setattr(made.sandbox, "drivers", lambda layout, make=True: dict.fromkeys(layout.names(), driver))
        monkeypatch.setattr(made.sandbox, "driver", lambda *_: driver)
        return made

    return opened


@pytest.fixture
def deployment(open_up: Open) -> Deployment:
    made = open_up(TEXT)
    made.up()
    return made


def said(driver: FakeDriver, name: str) -> list[str]:
    return [command[-1] for command in driver.nodes[name].commands if command[0] == "env"]


def test_a_node_is_closed_then_looked_at_and_forgotten(deployment: Deployment, driver: FakeDriver) -> None:
    drain = Drain(deployment, "second")
    drain.refuse_what_stays()
    drain.close()
    assert deployment.store.load()["drained"].keys() == {"second"}
    assert drain.wait(0) == [] and said(driver, "second") == ["shut", "who"]
    drain.remove()
    assert "second" not in driver.nodes and "second" not in deployment.store.load()["nodes"]
    assert deployment.store.load()["drained"] == {}


def test_what_runs_is_told_with_its_role(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deployment, "run", lambda *_: "ada has 2 jobs\nben has 1 job\n")
    assert Drain(deployment, "second").busy() == [Busy("lower.ground", "ada has 2 jobs"), Busy("lower.ground", "ben has 1 job")]


def test_undone_it_takes_part_again(deployment: Deployment, driver: FakeDriver) -> None:
    drain = Drain(deployment, "second")
    drain.close()
    drain.open()
    assert said(driver, "second") == ["shut", "unshut"] and deployment.store.load()["drained"] == {}


def test_data_that_is_nowhere_else_and_the_control_node_stay(deployment: Deployment) -> None:
    with pytest.raises(Errors) as caught:
        Drain(deployment, "head").refuse_what_stays()
    assert "upper.roof has data here and nowhere else: /srv/upper" in str(caught.value)
    with pytest.raises(InputError, match="control node"):
        Drain(deployment, "service").refuse_control()


def test_shared_data_stays_with_the_last_that_has_it(open_up: Open, leavers: dict[str, Part]) -> None:
    ground = replace(leavers["lower"].roles[0], data=(), shares=("/home",), leave=None)
    leavers["lower"] = replace(leavers["lower"], roles=(ground,))
    deployment = open_up(TEXT)
    deployment.up()
    Drain(deployment, "second").refuse_what_stays()
    alone = open_up(TEXT.replace("[upper, lower]", "[upper]"))
    with pytest.raises(Errors, match="/home"):
        Drain(alone, "second").refuse_what_stays()


def test_a_node_gone_from_the_file_keeps_up_from_beginning_until_it_was_removed(open_up: Open, driver: FakeDriver) -> None:
    open_up(TEXT).up()
    later = open_up(WITHOUT)
    assert later.plan().left == ("second",) and not later.plan().empty
    with pytest.raises(Errors, match=r"(?s)nodes.second: is no longer in the facility file.*farmlet node remove second"):
        later.up()
    drain = Drain(later, "second")
    drain.refuse_what_stays()
    drain.close()
    assert said(driver, "second") == ["shut"]
    drain.remove()
    assert later.up() == 0 and later.plan().left == ()


def test_all_that_keeps_up_from_beginning_is_told_at_once(
    open_up: Open, driver: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_up(TEXT).up()
    later = open_up(WITHOUT.replace("[upper, lower]", "[upper]"))
    monkeypatch.setattr(later, "run", lambda *_: "ada has 2 jobs\nben has 1 job\n")
    monkeypatch.setattr(driver, "refusal", lambda machine: InputError(machine.name, "cannot have that"))
    with pytest.raises(Errors) as caught:
        later.up()
    told = [(error.where, error.what.rpartition(": ")[2]) for error in caught.value.errors]
    assert told == [
        ("nodes.second", "is no longer in the facility file, and its jobs, sessions and credentials are still there"),
        ("nodes.head.runs", "ada has 2 jobs"),
        ("nodes.head.runs", "ben has 1 job"),
        ("head", "cannot have that"),
        ("service", "cannot have that"),
    ]


def test_lost_is_what_does_not_run(deployment: Deployment, driver: FakeDriver) -> None:
    drain = Drain(deployment, "second")
    with pytest.raises(InputError, match="it runs"):
        drain.refuse_running()
    driver.running.discard("second")
    drain.refuse_running()


def test_an_unknown_node_is_told(deployment: Deployment) -> None:
    with pytest.raises(InputError, match="third"):
        Drain(deployment, "third")
