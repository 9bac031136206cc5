"""How much memory is free on this node. Standard library only. Sources: proc(5), the kernel's cgroup-v1 and cgroup-v2."""

from __future__ import annotations

from pathlib import Path

# limit, usage, statistics, and what in them is given back when somebody needs it: of version 2, and of 1. A machine of its own
# has none of these, a container the ones of its own
CGROUPS = (
    ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file"),
)


def measure(root: Path = Path("/")) -> int:
    """Bytes that a new notebook could take: of the machine, and of what a node that is a container may have."""
    told = dict(line.split(":", 1) for line in (root / "proc/meminfo").read_text().splitlines())
    free = int(told["MemAvailable"].split()[0]) * 1024
    for limit, usage, stat, word in CGROUPS:
        folder = root / "sys/fs/cgroup"
        try:
            most, used = (folder / limit).read_text().strip(), int((folder / usage).read_text())
            spare = dict(line.split() for line in (folder / stat).read_text().splitlines())[word]
        except (OSError, KeyError, ValueError):
            continue
        if most != "max":
            free = min(free, int(most) - used + int(spare))
    return max(free, 0)
