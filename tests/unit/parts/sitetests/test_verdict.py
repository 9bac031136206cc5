"""When a gate closes and opens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from farmlet.parts.gate import Gate
from farmlet.parts.sitetests.result import Result
from farmlet.parts.sitetests.store import Closed
from farmlet.parts.sitetests.verdict import HOLD, Fault, Standing, blame, judge

OPEN, SHUT = Gate(True, 1.0), Gate(False, 2.0, "clock: text")


def make(codes: Sequence[int]) -> list[Result]:
    """Results with these codes, the newest first."""
    return [Result("clock", code, "text", 5.0) for code in codes]


@pytest.mark.parametrize(
    ("before", "codes", "ok"),
    [
        (None, [], True),
        (None, [2], True),
        (OPEN, [2, 0], True),
        (OPEN, [2, 2], False),
        (OPEN, [2, 3, 2], False),
        (OPEN, [3, 2, 2], False),
        (OPEN, [1, 2, 2], False),
        (OPEN, [1, 1], True),
        (OPEN, [3, 3], True),
        (OPEN, [0, 2, 2], True),
        (SHUT, [2, 0], False),
        (SHUT, [3, 2], False),
        (SHUT, [0, 2], True),
    ],
)
def test_twice_on_end_closes_and_once_opens(before: Gate | None, codes: list[int], ok: bool) -> None:
    found = judge({"clock": make(codes)}, {"clock"}, (), None, before, 9.0)
    assert found.ok is ok and ("clock: text" in found.reason) is not ok
    assert found.since == (before.since if before and before.ok == ok else 9.0)


def test_what_does_not_gate_is_only_told() -> None:
    found = judge({"clock": make([2, 2])}, (), (), None, OPEN, 9.0)
    assert found.ok and found.tests == {"clock": [2, 5.0, "text"]}


def test_closed_by_hand() -> None:
    found = judge({"clock": make([0])}, {"clock"}, (), Closed("tier1", "new disks", 3.0, None), OPEN, 9.0)
    assert (found.ok, found.by_hand, found.reason) == (False, True, "closed by hand: new disks")
    assert judge({"clock": make([0])}, {"clock"}, (), None, found, 10.0).ok


def test_a_gate_that_flaps_opens_when_its_tests_have_passed_often_enough() -> None:
    shut = Gate(False, 2.0, "clock: text")
    for codes, ok in (([0, 2, 2], False), ([0, 0, 2], False), ([0, 0, 0, 2], True), ([0, 3, 0, 0], True)):
        found = judge({"clock": make(codes)}, {"clock"}, (), None, shut, 9.0, flaps=True)
        assert found.ok is ok and ("flaps" in found.reason) is not ok
    assert judge({"clock": make([0, 2, 0])}, {"clock"}, (), None, OPEN, 9.0, flaps=True).ok


def stand(failing: Mapping[str, float], passed: Mapping[str, float]) -> Standing:
    return Standing(dict(failing), dict(passed))


SITES = [f"s{number}" for number in range(10)]


@pytest.mark.parametrize(
    ("failing", "passed", "sites", "fault"),
    [
        ({"s0": 1000}, {}, SITES[:2], Fault.THEIRS),  # with two sites nobody can say
        ({"s0": 1000}, {}, SITES, Fault.ASKING),
        ({"s0": 1000}, dict.fromkeys(SITES[1:], 900), SITES, Fault.ASKING),  # they passed before: that says nothing of now
        ({"s0": 1000}, dict.fromkeys(SITES[1:4], 1001), SITES, Fault.ASKING),
        ({"s0": 1000}, dict.fromkeys(SITES[1:5], 1001), SITES, Fault.THEIRS),
        ({"s0": 1000}, dict.fromkeys(SITES[1:3], 1001), SITES[:3], Fault.THEIRS),
        ({"s0": 1000, "s1": 1001, "s2": 1001}, {}, SITES, Fault.OURS),
        ({"s0": 1000, "s1": 1001, "s2": 1001}, {"s3": 1001, "s4": 1001}, SITES, Fault.THEIRS),
        ({"s0": 1000, "s1": 100, "s2": 100, "s3": 100}, dict.fromkeys(SITES[4:8], 1001), SITES, Fault.THEIRS),
        (dict.fromkeys(SITES[:6], 100), dict.fromkeys(SITES[6:], 1001), SITES, Fault.OURS),
    ],
)
def test_whose_fault_it_is(failing: Mapping[str, float], passed: Mapping[str, float], sites: Sequence[str], fault: Fault) -> None:
    assert blame(stand(failing, passed), "s0", sites, 1010.0) is fault


def test_others_are_not_waited_for_without_end() -> None:
    assert blame(stand({"s0": 1000}, {}), "s0", SITES, 1000 + HOLD) is Fault.THEIRS
