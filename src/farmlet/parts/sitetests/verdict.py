"""From results to gates: pure functions.

A gate closes when a test fails twice on end, so that one lost packet closes none; the second run follows at once. It opens when
none of its tests fails any more. When many sites fail the same test at a time the fault is ours, most likely: that test then
closes no gate that is open, and opens none that is closed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from farmlet.parts.gate import Gate
from farmlet.parts.sitetests.result import CRITICAL, OK, Result
from farmlet.parts.sitetests.store import Closed

TWICE = 2
FEWEST = 3  # sites, below which many of them are too few to say whose fault it is

Histories = Mapping[str, Mapping[str, Sequence[Result]]]  # site → test → its last results, the newest first


def fails(results: Sequence[Result]) -> bool:
    """Whether the last result that says yes or no was a no: a warning keeps drones away as little as what nobody knows."""
    return any(one.code == CRITICAL for one in _conclusive(results)[:1])


def fails_any(history: Mapping[str, Sequence[Result]]) -> bool:
    return any(map(fails, history.values()))


def fails_twice(results: Sequence[Result]) -> bool:
    last = _conclusive(results)[:TWICE]
    return len(last) == TWICE and all(one.code == CRITICAL for one in last)


def _conclusive(results: Sequence[Result]) -> list[Result]:
    return [one for one in results if one.code in (OK, CRITICAL)]


def find_frozen(histories: Histories, sites: Collection[str]) -> set[str]:
    """The tests that more than half of the sites fail at a time, of three or more."""
    if len(sites) < FEWEST:
        return set()
    tests = {test for site in sites for test in histories.get(site, {})}
    failing = {test: sum(fails(histories.get(site, {}).get(test, ())) for site in sites) for test in tests}
    return {test for test, number in failing.items() if number * 2 > len(sites)}


def judge(
    history: Mapping[str, Sequence[Result]],
    gating: Collection[str],
    frozen: Collection[str],
    closed: Closed | None,
    before: Gate | None,
    now: float,
) -> Gate:
    """The gate of a site. `gating`: the tests that count; `before`: what it was."""
    told = {test: [results[0].code, results[0].at, results[0].text] for test, results in history.items() if results}
    was_open = before is None or before.ok
    reasons = []
    for test in sorted(gating):
        results = history.get(test, ())
        stays = not was_open and fails(results)
        if stays or (test not in frozen and fails_twice(results)):
            reasons.append(f"{test}: {results[0].text}")
    if closed:
        reasons.insert(0, f"closed by hand: {closed.reason}")
    ok = not reasons
    since = before.since if before is not None and before.ok == ok else now
    return Gate(ok, since, "; ".join(reasons)[:1000], closed is not None, told)
