"""What the gates tell of sites, as numbers. Run by the node agent; standard library only."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

from farmlet.parts import gate
from farmlet.runtime.metrics import Sample


def measure(folder: str, sites: Sequence[str], told: str) -> list[Sample]:
    """Whether each site gets new drones, the last result of each test there, and which tests move no gate, as the service has
    `told`."""
    found = _measure_frozen(Path(told))
    for site in sites:
        is_open = gate.is_open(Path(folder), site)
        found.append(Sample("sitetests_open", is_open, {"site": site}, help="1 where new drones may go"))
        kept = gate.load(Path(folder), site)
        by_hand = kept is not None and kept.by_hand
        found.append(Sample("sitetests_maintenance", by_hand, {"site": site}, help="1 where an admin keeps new drones away"))
        for test, (code, at, _, *score) in sorted(kept.tests.items() if kept else ()):
            labels = {"site": site, "test": test}
            found += [
                Sample("sitetests_result", code, labels, help="0 ok, 1 warning, 2 critical, 3 unknown"),
                *(Sample("sitetests_score", one, labels, help="processing power by the test's own measure") for one in score[:1]),
                Sample("sitetests_result_timestamp", at, labels, "seconds", help="when the test began, since 1970"),
            ]
    return found


def _measure_frozen(told: Path) -> list[Sample]:
    try:
        said = json.loads(told.read_text())
        fresh = time.time() - told.stat().st_mtime < gate.VALID
        frozen, tests = set(said["frozen"]), {"queue", *(row["test"] for row in said["tests"])}
    except (OSError, ValueError, KeyError, TypeError):
        return []
    if not fresh:  # a check tells that the service says nothing
        return []
    help_ = "1 where the test fails at many sites and moves no gate"
    return [Sample("sitetests_frozen", test in frozen, {"test": test}, help=help_) for test in sorted(tests | frozen)]
