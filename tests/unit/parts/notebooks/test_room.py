"""What of a node's memory is free: a machine of its own, and containers of both versions of control groups."""

from __future__ import annotations

from pathlib import Path

import pytest

from farmlet.parts.notebooks.room import measure

MIB = 1 << 20
OLD = {
    "memory/memory.limit_in_bytes": "6000",
    "memory/memory.usage_in_bytes": "5000",
    "memory/memory.stat": "total_inactive_file 300\ntotal_active_file 200",
}
NEW = {"memory.max": "6000", "memory.current": "5000", "memory.stat": "anon 1\ninactive_file 300\nactive_file 200"}


def make(root: Path, files: dict[str, str], available: int = 100) -> Path:
    (root / "proc").mkdir()
    (root / "proc/meminfo").write_text(f"MemTotal: 9 kB\nMemAvailable: {available} kB\n")
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({}, 102400),
        (OLD, 1500),
        (NEW, 1500),
        (NEW | {"memory.max": "max"}, 102400),
        (NEW | {"memory.max": str(1 << 60)}, 102400),
        (NEW | {"memory.current": "9000"}, 0),
        (NEW | {"memory.stat": "odd"}, 102400),
    ],
)
def test_what_is_free_is_the_least_of_what_both_leave(tmp_path: Path, files: dict[str, str], free: int) -> None:
    assert measure(make(tmp_path, files)) == free


def test_this_machine_has_some() -> None:
    assert measure() > MIB
