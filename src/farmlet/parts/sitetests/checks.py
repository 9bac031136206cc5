"""What must hold of the site tests, and what they say of each site. Standard library only."""

from __future__ import annotations

import json
import time
from pathlib import Path

from farmlet.parts import gate
from farmlet.runtime.checks import Failed

CRITICAL = 2
WORDS = {1: "warns", 3: "is not known"}


def check_service(path: str) -> str:
    """The service lives, and can use all files of tests; no test fails at many sites at a time."""
    try:
        age, told = time.time() - Path(path).stat().st_mtime, json.loads(Path(path).read_text())
        tests, faults, frozen = len(told["tests"]), list(told["faults"]), list(told["frozen"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Failed(f"the service has told nothing yet ({error}): journalctl -u farmlet-sitetests") from error
    if age > gate.VALID:
        raise Failed(f"the service has told nothing for {age:.0f} s: journalctl -u farmlet-sitetests")
    if frozen:
        raise Failed(
            f"fails at many sites at a time, so most likely by a fault of our own, and moves no gate: {', '.join(frozen)}"
        )
    if faults:
        raise Failed(f"{len(faults)} files are no tests: {'; '.join(faults)}")
    return f"{tests} tests"


def check_site(folder: str, site: str, told: str) -> str:
    """The tests pass at the site, as far as they have ended; what keeps new drones away. What fails at many sites is no fault of
    this one, and is told by `check_service`. `told`: what the service tells."""
    found = gate.load(Path(folder), site)
    if found is None or not found.tests:
        return f"{site}: no test has ended yet"
    shut = "" if gate.is_open(Path(folder), site) else f"; no new drones since {(time.time() - found.since) / 60:.0f} min"
    if found.by_hand:
        return f"{site}: {found.reason}{shut}"
    common = _find_frozen(Path(told)) if found.ok else ()
    failing = [
        f"{test}: {text}" for test, (code, _, text, *_) in sorted(found.tests.items()) if code == CRITICAL and test not in common
    ]
    doubtful = [f"{test} {WORDS[code]}: {text}" for test, (code, _, text, *_) in sorted(found.tests.items()) if code in WORDS]
    doubtful += [f"{test} fails at many sites" for test in common if found.tests.get(test, [0])[0] == CRITICAL]
    if failing:
        raise Failed(f"{site}: {'; '.join(failing)}{shut}")
    if not found.ok:
        raise Failed(f"{site}: {found.reason}{shut}")
    oldest, passing = time.time() - min(at for _, at, *_ in found.tests.values()), len(found.tests) - len(doubtful)
    return f"{site}: {'; '.join([f'{passing} tests pass, the oldest {oldest:.0f} s ago', *doubtful])}"


def _find_frozen(told: Path) -> list[str]:
    try:
        return sorted(map(str, json.loads(told.read_text())["frozen"]))
    except (OSError, ValueError, KeyError, TypeError):
        return []
