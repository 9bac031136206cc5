"""From results to gates: pure functions.

A gate closes when a test fails twice on end, so that one lost packet closes none; the second run follows at once. It opens when
none of its tests fails any more; one that closed again and again only after they have passed several times on end. When many
sites fail the same test at a time the fault is ours, most likely: that test then closes no gate that is open, and opens none that
is closed. Since a fault of ours does not come to light at all sites at once, others are asked before a gate closes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from farmlet.parts.gate import Gate
from farmlet.parts.sitetests.result import CRITICAL, OK, Result
from farmlet.parts.sitetests.store import Closed

TWICE = 2
FEWEST = 3  # sites, below which many of them are too few to say whose fault it is
ASKED = 4  # other sites that say whether they fail too, before a gate closes
HOLD = 90.0  # seconds after which what others say is waited for no longer
WINDOW = 600.0  # who failed so long before says nothing of what happened now
FLAPS = 3  # times that a gate closed within FLAPPING, from which on it flaps
FLAPPING = 6 * 3600.0  # seconds
STEADY = 3  # times that a test passes on end, before a gate opens that flaps


class Fault(Enum):
    """Whose it is that a site fails a test."""

    THEIRS, OURS, ASKING = "theirs", "ours", "asking"


@dataclass
class Standing:
    """How one test stands. `failing`: site → when the first of its failures on end was stored; `passed`: site → when the last
    run that passed began. Seconds since 1970."""

    failing: dict[str, float] = field(default_factory=dict)
    passed: dict[str, float] = field(default_factory=dict)

    def note(self, site: str, result: Result, now: float) -> None:
        if result.code == CRITICAL:
            self.failing.setdefault(site, now)
        elif result.code == OK:
            self.failing.pop(site, None)
            self.passed[site] = result.at


def fails(results: Sequence[Result], passes: int = 1) -> bool:
    """Whether one of the last results, of those that say yes or no, was a no: a warning keeps drones away as little as what
    nobody knows. `passes`: how many that wants to be yes."""
    return any(one.code == CRITICAL for one in _conclusive(results)[:passes])


def fails_twice(results: Sequence[Result]) -> bool:
    last = _conclusive(results)[:TWICE]
    return len(last) == TWICE and all(one.code == CRITICAL for one in last)


def _conclusive(results: Sequence[Result]) -> list[Result]:
    return [one for one in results if one.code in (OK, CRITICAL)]


def fails_at_most(standing: Standing, sites: Collection[str]) -> bool:
    """Whether more than half of these sites, three or more, fail the test."""
    return len(sites) >= FEWEST and len(standing.failing.keys() & set(sites)) * 2 > len(sites)


def blame(standing: Standing, site: str, sites: Collection[str], now: float) -> Fault:
    """Whose fault it is that `site` fails a test that is for `sites`."""
    if len(sites) < FEWEST:
        return Fault.THEIRS
    if fails_at_most(standing, sites):
        return Fault.OURS
    began, others = standing.failing[site], set(sites) - {site}
    failing = sum(standing.failing.get(one, 0.0) >= began - WINDOW for one in others)
    passing = sum(one not in standing.failing and standing.passed.get(one, 0.0) >= began for one in others)
    if failing > passing and failing + 1 >= FEWEST:
        return Fault.OURS
    if failing + passing < min(ASKED, len(others)) and now - began < HOLD:
        return Fault.ASKING
    return Fault.THEIRS


def _tell(one: Result) -> list[object]:
    return [one.code, one.at, one.text, *([one.numbers["score"][0]] if "score" in one.numbers else [])]


def judge(
    history: Mapping[str, Sequence[Result]],
    gating: Collection[str],
    frozen: Collection[str],
    closed: Closed | None,
    before: Gate | None,
    now: float,
    flaps: bool = False,
) -> Gate:
    """The gate of a site. `history`: the last results of its tests, the newest first; `gating`: those that count; `frozen`: those
    that close no gate now; `before`: what it was; `flaps`: it has closed again and again."""
    told = {test: _tell(results[0]) for test, results in history.items() if results}
    was_open = before is None or before.ok
    reasons = []
    for test in sorted(gating):
        results = history.get(test, ())
        stays = not was_open and fails(results)
        if stays or (test not in frozen and fails_twice(results)):
            reasons.append(f"{test}: {results[0].text}")
        elif flaps and not was_open and fails(results, STEADY):
            reasons.append(f"{test} passes again, not yet {STEADY} times on end: this gate flaps")
    if closed:
        reasons.insert(0, f"closed by hand: {closed.reason}")
    ok = not reasons
    since = before.since if before is not None and before.ok == ok else now
    return Gate(ok, since, "; ".join(reasons)[:1000], closed is not None, told)
