"""How many cores of drones the queue asks for."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farmlet.parts.overlay.checks import check_demand
from farmlet.parts.overlay.demand import IDLE, RUNNING, TRANSFERRING, Job, Level, Shape, add, parse
from farmlet.runtime.checks import Failed

DRONE = Shape(cores=4, memory=8000)
HELD, REMOVED, COMPLETED, LOCAL_UNIVERSE = 5, 3, 4, 12

TABLE = [
    ("nothing queued", [], 0),
    ("one idle job", [Job(IDLE)], 1),
    ("idle and running add up", [Job(IDLE, 2), Job(RUNNING, 1, site="tier1")], 3),
    ("output still travels", [Job(TRANSFERRING, 1, site="tier1")], 1),
    ("a job on the facility's own slot holds no drone", [Job(RUNNING, 1)], 0),
    ("a job that refuses drones", [Job(IDLE, local=True), Job(IDLE)], 1),
    ("held, removed, completed", [Job(HELD), Job(REMOVED), Job(COMPLETED)], 0),
    ("a job that runs on the access point", [Job(IDLE, universe=LOCAL_UNIVERSE)], 0),
    ("more cores than a drone has", [Job(IDLE, 5)], 0),
    ("more memory than a drone has", [Job(IDLE, 1, 8001)], 0),
    ("memory decides: half of a drone", [Job(IDLE, 1, 4000)], 2),
    ("bounded", [Job(IDLE, 4)] * 9, 20),
]


@pytest.mark.parametrize(("jobs", "cores"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_cores_wanted(jobs: list[Job], cores: float) -> None:
    assert add(jobs, DRONE, maximum=20) == cores


JOBS = st.lists(
    st.builds(
        Job,
        status=st.integers(1, 7),
        cores=st.integers(1, 8),
        memory=st.integers(0, 20000),
        local=st.booleans(),
        site=st.sampled_from(["", "tier1"]),
    )
)


@given(JOBS, JOBS, st.integers(0, 100))
def test_never_beyond_the_maximum_and_never_less_for_more_jobs(first: list[Job], more: list[Job], maximum: int) -> None:
    assert 0 <= add(first, DRONE, maximum) <= add(first + more, DRONE, maximum) <= maximum


def say(*jobs: dict[str, Any]) -> bytes:
    usual = {"Owner": "ada", "JobUniverse": 5, "JobStatus": 1, "RequestCpus": 1}
    return json.dumps([usual | job for job in jobs]).encode()


def test_parse_reads_what_condor_q_prints() -> None:
    running = {"JobStatus": 2, "RequestCpus": 2, "RequestMemory": 1000.5, "WantLocal": True, "MachineAttrFarmletSite0": "tier1"}
    default = {"RequestMemory": "/Expr(ifthenelse(MemoryUsage isnt undefined,MemoryUsage,1))/", "MachineAttrFarmletSite0": None}
    found = parse(say({"RequestMemory": 256}, running, default, {"WantLocal": "/Expr(Cpus == 1)/"}))
    assert found.jobs == [Job(IDLE, 1, 256), Job(RUNNING, 2, 1000.5, True, "tier1"), Job(IDLE), Job(IDLE, local=True)]
    assert not found.odd and parse(b"") == parse(b"[ ]\n") == ([], {})


ODD = [
    {"WantLocal": "a\tb"},
    {"WantLocal": 1},
    {"RequestCpus": -5},
    {"RequestCpus": 10**400},
    {"RequestCpus": "1"},
    {"RequestCpus": True},
    {"RequestMemory": [1]},
    {"JobStatus": "1\n1"},
    {"JobUniverse": None},
]


@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_what_one_member_writes_costs_that_job_alone(odd: dict[str, Any]) -> None:
    found = parse(say({}, odd | {"Owner": "eve"}, {}))
    assert found.jobs == [Job(IDLE), Job(IDLE)] and found.odd == {"eve": 1}


def test_a_running_job_holds_no_more_than_a_drone() -> None:
    assert add([Job(RUNNING, 1000, 1e9, site="tier1"), Job(IDLE)], DRONE, maximum=100) == 5


def test_parse_refuses_other_output() -> None:
    for said in (b"-- Failed to fetch ads from: <192.0.2.1:9618>\n", b'{"JobStatus": 1}', b"[" * 100_000):
        with pytest.raises(ValueError):
            parse(said)


def test_the_check_tells_whose_jobs_are_left_out_and_when_nobody_looks(tmp_path: Path) -> None:
    told = tmp_path / "demand.json"
    with pytest.raises(Failed, match="not read yet"):
        check_demand(str(told))
    told.write_text(json.dumps({"at": time.time(), "demand": 4.0, "odd": {"eve": 2}, "silent": {}}))
    assert "4 cores" in check_demand(str(told)) and "2 of eve" in check_demand(str(told))
    told.write_text(json.dumps({"at": time.time() - 1000, "demand": 4.0, "odd": {}, "silent": {}}))
    with pytest.raises(Failed, match="last read 1000 s ago"):
        check_demand(str(told))
    found = {"at": time.time(), "demand": 0.0, "odd": {}, "silent": {}, "untaken": ["12.0 of ada at head"]}
    told.write_text(json.dumps(found))
    assert "free drones do not take 12.0 of ada at head: condor_q" in check_demand(str(told))


def test_the_check_names_access_points_that_do_not_answer(tmp_path: Path) -> None:
    told = tmp_path / "demand.json"
    told.write_text(json.dumps({"at": time.time(), "demand": 4.0, "odd": {}, "silent": {"head.af.test": "no answer"}}))
    with pytest.raises(Failed, match=r"4 cores .* the last known jobs count for a while: head\.af\.test: no answer"):
        check_demand(str(told))


def test_level_rises_at_once_and_falls_after_hold() -> None:
    level = Level(idle_timeout=10)
    history = [(0, 0, 0), (1, 4, 4), (2, 0, 4), (10, 0, 4), (11, 0, 0), (12, 1, 1)]
    assert [level.settle(wanted, now) for now, wanted, _ in history] == [expected for *_, expected in history]


def test_level_keeps_the_demand_while_it_is_wanted_now_and_then() -> None:
    level = Level(idle_timeout=10)
    assert [level.settle(wanted, now) for now, wanted in [(0, 2), (9, 0), (9.5, 2), (19, 0), (19.5, 1)]] == [2] * 4 + [1]
