"""Keeps what a benchmark measured and writes docs/reference/performance.md from all of it."""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "reference" / "performance.md"
FARMLET = str(ROOT / ".venv" / "bin" / "farmlet")
HEAD = """# Performance

Every figure here was measured by the command beside it, on the machine named; run it to repeat it. Medians, with the
smallest and the largest value. Machines differ and are shared: compare ratios and goals, not seconds.
This page is generated from `benchmarks/results/`; do not edit it.

| figure | goal | median | min … max | runs | date | command |
|---|---|---|---|---|---|---|
"""


def farmlet(*words: str, folder: Path | None = None) -> str:
    """Run `farmlet`; its standard output. Ends the benchmark when it fails: a figure of a broken run is none."""
    done = subprocess.run([FARMLET, *words], cwd=folder or ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"farmlet {' '.join(words)} failed with {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout


def timed(action: Callable[[], Any]) -> float:
    """Seconds `action` took."""
    start = time.monotonic()
    action()
    return time.monotonic() - start


def record(figure: str, goal: str, unit: str, values: Sequence[float], note: str = "") -> None:
    """Keep the values of one figure and write the page anew."""
    RESULTS.mkdir(exist_ok=True)
    # a folder of this machine means nothing elsewhere
    words = ["FOLDER" if Path(word).is_dir() else word for word in sys.argv[1:]]
    command = " ".join([f"benchmarks/{Path(sys.argv[0]).name}", *words])
    kept = {
        "figure": figure,
        "goal": goal,
        "unit": unit,
        "values": [round(value, 3) for value in values],
        "note": note,
        "date": datetime.now(UTC).date().isoformat(),
        "command": f".venv/bin/python {command}",
        "machine": _machine(),
    }
    name = "".join(letter if letter.isalnum() else "-" for letter in figure.lower())
    (RESULTS / f"{name}.json").write_text(json.dumps(kept, indent=1) + "\n")
    print(f"{figure}: median {statistics.median(values):.2f} {unit} of {len(values)} (goal {goal})")
    write_page()


def _machine() -> str:
    memory = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    cores = len([line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("processor")])
    return f"{cores} cores, {int(memory.split()[1]) / 1048576:.0f} GiB, Linux {platform.release().split('-')[0]}, shared"


def write_page() -> None:
    """docs/reference/performance.md from every result kept."""
    rows, notes = [], []
    kept = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))]
    for one in kept:
        values, unit = one["values"], one["unit"]
        spread = f"{min(values):.2f} … {max(values):.2f}"
        cells = (one["figure"], one["goal"], f"{statistics.median(values):.2f} {unit}", spread, str(len(values)), one["date"])
        rows.append(f"| {' | '.join(cells)} | `{one['command']}` |")
        if one["note"]:
            notes.append(f"- {one['figure']}: {one['note']}")
    machines = sorted({one["machine"] for one in kept})
    tail = ["", f"Machine: {'; '.join(machines)}.", "", *notes]
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(HEAD + "\n".join([*rows, *tail]).rstrip() + "\n")
