"""How much memory is free on this node. Standard library only. Sources: proc(5), the kernel's cgroup-v1 and cgroup-v2."""

from __future__ import annotations

from pathlib import Path

CACHES = ("inactive_file", "active_file")  # given back when somebody needs it
# limit, usage, statistics, and how the names in these begin: of version 2, and of 1. A machine has none of its own
CGROUPS = (
    ("memory.max", "memory.current", "memory.stat", ""),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_"),
)


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
