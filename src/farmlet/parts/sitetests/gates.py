"""The gates of all sites as the service keeps them: what tests found there lately, whose fault that is, and what follows."""

from __future__ import annotations

import logging
import random
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

from farmlet.parts import gate
from farmlet.parts.sitetests import verdict
from farmlet.parts.sitetests.result import OK, PART, Result
from farmlet.parts.sitetests.store import Store
from farmlet.parts.sitetests.suite import QUEUE, Suite
from farmlet.parts.sitetests.verdict import Fault, Standing

log = logging.getLogger("farmlet.sitetests")

HISTORY = 6  # results of a test at a site by which its gate is judged


@dataclass
class Gates:
    """`folder`: of their files. `suite`: the tests there are now. `frozen`: those that fail at most sites at a time. `takes`: by
    site and test, the seconds that it takes there when it passes."""

    sites: Collection[str]
    store: Store
    folder: Path
    suite: Suite = field(default_factory=lambda: Suite({}))
    frozen: set[str] = field(default_factory=set)
    takes: dict[tuple[str, str], float] = field(default_factory=dict)
    _histories: dict[str, dict[str, list[Result]]] = field(default_factory=dict)
    _standings: dict[str, Standing] = field(default_factory=dict)
    _gates: dict[str, gate.Gate] = field(default_factory=dict)

    def __post_init__(self) -> None:
        begun = self.store.find_streaks()
        rows = [(site, result) for site, result in self.store.find_rows(last=HISTORY) if PART not in result.test]
        for site, result in reversed(rows):
            self.note(site, result, begun.get((site, result.test), result.at))
        for name in self.sites:
            if found := gate.load(self.folder, name):
                self._gates[name] = found

    def note(self, site: str, result: Result, now: float) -> None:
        """What a test found, stored `now`."""
        history = self._histories.setdefault(site, {}).setdefault(result.test, [])
        history[:] = [replace(result, output=""), *history][:HISTORY]
        if took := [one.seconds for one in history if one.code == OK]:
            self.takes[site, result.test] = median(took)
        if site in self.sites:
            self._standings.setdefault(result.test, Standing()).note(site, result, now)

    def fails(self, site: str, test: str) -> bool:
        return verdict.fails(self._histories.get(site, {}).get(test, ()))

    def is_pressing(self, site: str, test: str, now: float) -> bool:
        """Whether a test is to run again soon: it fails, or has not passed often enough yet to open the gate."""
        before = self._gates.get(site)
        passes = verdict.STEADY if before is not None and not before.by_hand and self._flaps(site, now) else 1
        return verdict.fails(self._histories.get(site, {}).get(test, ()), passes)

    def find_peers(self, site: str, test: str) -> list[str]:
        """Sites to ask, when `site` fails a test for the first time, whether they fail too: not those that do so anyhow."""
        sites, standing = self._where(test), self._standings.get(test, Standing())
        if len(sites) < verdict.FEWEST or verdict.fails_at_most(standing, sites):
            return []
        others = [one for one in sites if one != site and one not in standing.failing]
        return random.sample(others, min(verdict.ASKED, len(others)))

    def judge(self, now: float, *only: str) -> None:
        """Write the gates of all sites or those named, where they changed, and say that they still count."""
        closed = self.store.find_closed(now)
        gating = {QUEUE, *(test.name for test in self.suite.tests.values() if test.gate)}
        # what fails at most sites at a time, and, of each site, what closes no gate of it now
        common = {test for test in (QUEUE, *self.suite.tests) if self._is_common(test)}
        frozen = set(common)
        for name in only or self.sites:
            before, history = self._gates.get(name), self._find_history(name)
            stays = set(common)
            if before is None or before.ok:
                for test, results in history.items():
                    if test in gating and test not in common and verdict.fails_twice(results):
                        fault = verdict.blame(self._standings[test], name, self._where(test), now)
                        stays |= set() if fault is Fault.THEIRS else {test}
                        frozen |= {test} if fault is Fault.OURS else set()
            self._keep(name, verdict.judge(history, gating, stays, closed.get(name), before, now, self._flaps(name, now)), now)
        self._freeze(frozen, len(only) == 0)

    def _is_common(self, test: str) -> bool:
        standing = self._standings.get(test)
        return standing is not None and bool(standing.failing) and verdict.fails_at_most(standing, self._where(test))

    def _where(self, test: str) -> list[str]:
        """The sites that a test is for."""
        known = self.suite.tests.get(test)
        return [site for site in self.sites if known is None or known.is_for(site)]

    def _find_history(self, site: str) -> Mapping[str, Sequence[Result]]:
        """The last results of the tests that there are."""
        known = {QUEUE, *self.suite.tests}
        return {test: results for test, results in self._histories.get(site, {}).items() if test in known}

    def _freeze(self, frozen: set[str], whole: bool) -> None:
        """`whole`: all sites were looked at, so that what is not among them is none any more."""
        for test in sorted(frozen - self.frozen):
            log.warning("%s fails at many sites: most likely the fault is ours; it closes no gate now, and opens none", test)
        self.frozen = frozen if whole else self.frozen | frozen

    def _flaps(self, site: str, now: float) -> bool:
        """Whether a gate that is closed has closed again and again."""
        before = self._gates.get(site)
        shut = before is not None and not before.ok
        return shut and self.store.count_closings(site, now - verdict.FLAPPING) >= verdict.FLAPS

    def _keep(self, name: str, found: gate.Gate, now: float) -> None:
        before = self._gates.get(name)
        if before is None or before.ok != found.ok:
            log.info("gate of %s: %s", name, "open" if found.ok else f"closed: {found.reason}")
            self.store.note_change(name, now, found.ok, found.by_hand, found.reason)
        if found != before:
            gate.save(self.folder, name, found)
            self._gates[name] = found
            if before is None or before.ok != found.ok:
                (self.folder / gate.CHANGED).touch()  # the node agent counts anew, so that an alarm comes soon
        else:
            with suppress(FileNotFoundError):
                gate.touch(self.folder, name)
