"""What of a node's memory and cores is free: a machine of its own, and containers of both versions of control groups."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from farmlet.parts.notebooks import room
from farmlet.parts.notebooks.room import find_idle, measure

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
    assert 0 <= asyncio.run(find_idle(seconds=0.01)) <= (os.cpu_count() or 1)


STAT = "cpu  {} 0 100 5000 50 0 0 0 7 7\ncpu0 1\ncpu1 1\ncpu2 1\ncpu3 1\nintr 5\n"
TICKS = os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize(
    ("files", "worked", "free"),
    [
        ({}, {"proc/stat": STAT.format(TICKS)}, 3),
        ({"cpu.max": "max 100000", "cpu.stat": "usage_usec 0"}, {"proc/stat": STAT.format(TICKS)}, 3),
        ({"cpu.max": "200000 100000", "cpu.stat": "usage_usec 0"}, {"sys/fs/cgroup/cpu.stat": "usage_usec 1500000"}, 0.5),
        (
            {"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000", "cpuacct/cpuacct.usage": "0"},
            {"sys/fs/cgroup/cpuacct/cpuacct.usage": str(10**9)},
            1,
        ),
        ({"cpu.max": "200000 100000", "cpu.stat": "usage_usec 0"}, {"proc/stat": STAT.format(9 * TICKS)}, 0),
    ],
    ids=["machine", "no limit", "version 2", "version 1", "others"],
)
def test_cores_are_free_that_nothing_uses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], worked: dict[str, str], free: float
) -> None:
    make(tmp_path, files)
    (tmp_path / "proc/stat").write_text(STAT.format(0))
    moments = iter((10.0, 11.0))

    async def pass_a_second(seconds: float) -> None:
        for name, text in worked.items():
            (tmp_path / name).write_text(text)

    monkeypatch.setattr(room, "time", SimpleNamespace(monotonic=lambda: next(moments)))
    monkeypatch.setattr(room, "asyncio", SimpleNamespace(sleep=pass_a_second))
    assert asyncio.run(find_idle(tmp_path)) == pytest.approx(free)
