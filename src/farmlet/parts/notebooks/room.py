"""How much memory and how many cores are free on this node. Standard library only.

Sources: proc(5), the kernel's cgroup-v1 and cgroup-v2.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path

CACHES = ("inactive_file", "active_file")  # given back when somebody needs it
# limit, usage, statistics, and how the names in these begin: of version 2, and of 1. A machine has none of its own
CGROUPS = (
    ("memory.max", "memory.current", "memory.stat", ""),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_"),
)

LOOK_SECONDS, FRESH = 0.3, 5.0  # for which cores are watched, and for which what was seen holds


def measure(root: Path = Path("/")) -> int:
    """Bytes that a new notebook could take: of the machine, and of what a node that is a container may have."""
    told = dict(line.split(":", 1) for line in (root / "proc/meminfo").read_text().splitlines())
    free = int(told["MemAvailable"].split()[0]) * 1024
    for limit, usage, stat, prefix in CGROUPS:
        folder = root / "sys/fs/cgroup"
        try:
            most, used = (folder / limit).read_text().strip(), int((folder / usage).read_text())
            found = dict(line.split() for line in (folder / stat).read_text().splitlines())
            spare = sum(int(found[f"{prefix}{name}"]) for name in CACHES)
        except (OSError, KeyError, ValueError):
            continue
        if most != "max":
            free = min(free, int(most) - used + spare)
    return max(free, 0)


async def find_idle(root: Path = Path("/"), seconds: float = LOOK_SECONDS) -> float:
    """Cores that nothing used for so long: of the machine, and of what a node that is a container may have."""
    began, before = time.monotonic(), list(_count(root))
    await asyncio.sleep(seconds)
    lasted, after = time.monotonic() - began, list(_count(root))
    return max(0.0, min(cores - (used - old) / lasted for (cores, used), (_, old) in zip(after, before, strict=True)))


class Idle:
    """The same, looked at once for all who ask within `FRESH` seconds."""

    def __init__(self) -> None:
        self._moment, self._cores = -FRESH, 0.0

    async def find(self) -> float:
        if time.monotonic() - self._moment > FRESH:
            self._cores = await find_idle()
            self._moment = time.monotonic()
        return self._cores


def _count(root: Path) -> Iterator[tuple[float, float]]:
    """Cores, and the seconds that they have worked so far: of the machine, and of the container's limit."""
    first, *others = (root / "proc/stat").read_text().splitlines()
    user, nice, system, _, _, *more = map(int, first.split()[1:9])  # idle, and waiting for disks
    ticks: int = os.sysconf("SC_CLK_TCK")
    yield float(sum(line.startswith("cpu") for line in others)), (user + nice + system + sum(more)) / ticks
    folder = root / "sys/fs/cgroup"
    try:  # of version 2, then of 1; a machine has neither limit
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
            used = int((folder / "cpu.stat").read_text().split()[1]) / 1e6
        else:
            quota, period = ((folder / f"cpu/cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
            used = int((folder / "cpuacct/cpuacct.usage").read_text()) / 1e9
    except (OSError, ValueError):
        return
    if quota.isdecimal():
        yield int(quota) / int(period), used
