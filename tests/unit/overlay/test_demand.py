"""How many cores of drones the queue asks for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farmlet.parts.overlay.demand import ATTRIBUTES, IDLE, RUNNING, TRANSFERRING, Job, Level, Shape, add, parse

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


def test_parse_reads_what_condor_q_prints() -> None:
    text = "5\t1\t1\t256\tundefined\tundefined\n5\t2\t2\t1000.5\ttrue\ttier1\n5\t1\terror\tundefined\tfalse\tundefined\n"
    assert parse(text) == [Job(IDLE, 1, 256), Job(RUNNING, 2, 1000.5, True, "tier1"), Job(IDLE, 1, 0)]
    assert parse("") == []


def test_parse_refuses_other_output() -> None:
    with pytest.raises(ValueError, match=f"expected {len(ATTRIBUTES)} fields"):
        parse("-- Failed to fetch ads from: <192.0.2.1:9618>\n")


def test_level_rises_at_once_and_falls_after_hold() -> None:
    level = Level(hold=10)
    history = [(0, 0, 0), (1, 4, 4), (2, 0, 4), (10, 0, 4), (11, 0, 0), (12, 1, 1)]
    assert [level.settle(wanted, now) for now, wanted, _ in history] == [expected for *_, expected in history]


def test_level_keeps_the_demand_while_it_is_wanted_now_and_then() -> None:
    level = Level(hold=10)
    assert [level.settle(wanted, now) for now, wanted in [(0, 2), (9, 0), (9.5, 2), (19, 0), (19.5, 1)]] == [2] * 4 + [1]
