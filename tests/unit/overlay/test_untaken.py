"""Jobs that no drone takes keep none."""

from __future__ import annotations

import json

import pytest

from farmlet.parts.overlay.demand import IDLE, RUNNING, Job, Shape, parse
from farmlet.parts.overlay.untaken import PATIENCE, PAUSE, Untaken
from farmlet.parts.overlay.untaken import parse as parse_free

ADA, BOB = ("head", "1.0 of ada"), ("head", "2.0 of bob")
SMALL = Shape(1, 1000)


def test_beside_a_drone_that_was_free_all_the_while_a_job_counts_no_more_for_some_time() -> None:
    untaken, idle = Untaken(), {ADA: Job(IDLE, 1, 500)}
    assert not untaken.settle(idle, {}, 0), "no drone is there yet"
    assert not untaken.settle(idle, {"one": SMALL}, 5)
    assert not untaken.settle(idle, {"one": SMALL}, 4 + PATIENCE)
    assert untaken.settle(idle, {"one": SMALL}, 5 + PATIENCE) == {ADA}
    assert untaken.settle(idle, {}, 100) == {ADA}, "the drone has gone for want of demand"
    both = idle | {BOB: Job(IDLE)}
    assert untaken.settle(both, {"two": SMALL}, 101) == {ADA}, "who has just come counts"
    assert not untaken.settle(idle, {}, 5 + PATIENCE + PAUSE), "it is tried again"
    assert not untaken.settle({}, {}, 2000) and not untaken.settle(idle, {}, 2001)


def test_a_drone_that_had_a_job_meanwhile_or_is_too_small_says_nothing() -> None:
    untaken, idle = Untaken(), {ADA: Job(IDLE, 1, 500), BOB: Job(IDLE, 2, 500)}
    for now in range(0, 200, 5):
        # now this one is free and now that one, as with many short jobs
        assert not untaken.settle(idle, {"one": SMALL} if now % 10 else {"two": SMALL}, now)
    for now in range(200, 300, 5):
        left = untaken.settle(idle, {"one": SMALL}, now)
    assert left == {ADA}


def test_what_condor_status_and_condor_q_print() -> None:
    slot = {"Name": "slot1@one", "Cpus": 1, "Memory": 1000, "NumDynamicSlots": 0}
    busy = [slot | {"NumDynamicSlots": 1}, slot | {"Cpus": None}, {"Name": "slot1@two"}]
    assert parse_free(json.dumps([slot, *busy]).encode()) == {"slot1@one": SMALL}
    assert parse_free(b"") == {}
    with pytest.raises(ValueError):
        parse_free(b"-- Failed to fetch ads")
    ad = {"ClusterId": 12, "ProcId": 0, "Owner": "ada", "JobUniverse": 5, "JobStatus": IDLE}
    found = parse(json.dumps([ad, ad | {"JobStatus": RUNNING}, ad | {"WantLocal": True}]).encode()).jobs
    assert [(job.number, job.waits) for job in found] == [("12.0 of ada", True), ("12.0 of ada", False), ("12.0 of ada", False)]
