"""What each file of facility tests may take, as the table in CONTRIBUTING.md has it; a run tells which took more."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[1] / "CONTRIBUTING.md"
ROW = re.compile(r"^\| `(test_\w+)` \| (\w+) \| (\d+) \|", re.MULTILINE)


def read() -> dict[str, tuple[str, int]]:
    """File (without its ending) → its lane, and its budget in seconds, beside other lanes."""
    return {name: (lane, int(seconds)) for name, lane, seconds in ROW.findall(PAGE.read_text())}


def tell(terminalreporter: pytest.TerminalReporter) -> None:
    """The files that took longer than their budget, slowest first."""
    spent: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport) and report.nodeid.startswith("tests/facility/"):
                spent[Path(report.nodeid.partition("::")[0]).stem] += report.duration
    found = read()
    over = [(seconds, name) for name, seconds in spent.items() if name in found and seconds > found[name][1]]
    for seconds, name in sorted(over, reverse=True):
        terminalreporter.write_line(f"over its budget: {name} took {seconds:.0f} s of {found[name][1]}")
