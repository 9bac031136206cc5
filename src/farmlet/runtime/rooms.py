"""Which room a file system is. Standard library only."""

from __future__ import annotations

from pathlib import Path

from farmlet.runtime.btrfs import Btrfs, is_btrfs
from farmlet.runtime.project import Project, has_quotas
from farmlet.runtime.room import Plain, Room


def open_room(folder: Path) -> Room:
    """What the file system of `folder` can do."""
    if is_btrfs(folder):
        return Btrfs()
    return Project() if has_quotas(folder) else Plain()
