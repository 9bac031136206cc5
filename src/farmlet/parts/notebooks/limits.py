"""Whether the limits of a unit hold: systemd starts it all the same where they cannot. Standard library only.

Sources: systemd.resource-control(5), the kernel's cgroup-v1 and cgroup-v2.
"""

from __future__ import annotations

from pathlib import Path

# what is limited, and where that shows below the root of cgroups: of version 1, and of 2
FILES = {
    "memory": ("memory{}/memory.limit_in_bytes", "{}/memory.max"),
    "cores": ("cpu{}/cpu.cfs_quota_us", "{}/cpu.max"),
    "processes": ("pids{}/pids.max", "{}/pids.max"),
}
NONE = 1 << 60  # about what version 1 says of memory without a limit


def find_unlimited(group: str, root: Path = Path("/sys/fs/cgroup")) -> list[str]:
    """What of the unit in this cgroup (`/system.slice/…`) has no limit."""
    return [what for what, names in FILES.items() if not any(_holds(root / name.format(group).lstrip("/")) for name in names)]


def _holds(path: Path) -> bool:
    try:
        word = path.read_text().split()[0]
    except (OSError, IndexError):
        return False
    return word.isdecimal() and int(word) < NONE
