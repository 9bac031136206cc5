"""Which quotas a file system has. Standard library only."""

from __future__ import annotations

from pathlib import Path

from farmlet.runtime.disk.btrfs import Btrfs, is_btrfs
from farmlet.runtime.disk.project import USER, Owned, Project, has_quotas
from farmlet.runtime.disk.quotas import Plain, Quotas


def open_quotas(folder: Path, owned: bool = False) -> Quotas:
    """What the file system of `folder` can do. `owned`: its folders belong to those who are limited, who are on this node."""
    if is_btrfs(folder):
        return Btrfs()
    if not has_quotas(folder):
        return Plain()
    return Owned() if owned and has_quotas(folder, USER) else Project()
