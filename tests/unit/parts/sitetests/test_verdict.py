"""When a gate closes and opens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from farmlet.parts.gate import Gate
from farmlet.parts.sitetests.result import Result
from farmlet.parts.sitetests.store import Closed
from farmlet.parts.sitetests.verdict import find_frozen, judge

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


@pytest.mark.parametrize(
    ("failing", "of", "frozen"), [(1, 1, False), (2, 2, False), (1, 3, False), (2, 3, True), (3, 3, True), (2, 4, False)]
)
def test_what_most_sites_fail_at_a_time_moves_no_gate(failing: int, of: int, frozen: bool) -> None:
    sites = [f"site{number}" for number in range(of)]
    histories: Mapping[str, Mapping[str, Sequence[Result]]] = {
        site: {"clock": make([2, 2] if number < failing else [0])} for number, site in enumerate(sites)
    }
    found = find_frozen(histories, sites)
    assert found == ({"clock"} if frozen else set())
    assert judge(histories["site0"], {"clock"}, found, None, OPEN, 9.0).ok is frozen
    assert not judge(histories["site0"], {"clock"}, found, None, SHUT, 9.0).ok
