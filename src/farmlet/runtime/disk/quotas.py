"""The seam to where homes, scratch and storage lie: what a file system can do with one folder. Standard library only.

Implementations: plain folders without limits (`Plain`, here), btrfs subvolumes (`btrfs`) and projects of ext4 and XFS (`project`)
with limits. Which one it is, is found by looking at the file system (`filesystem`), so that nothing has to be configured and a
mount by an admin counts at once.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from farmlet.errors import FarmletError
from farmlet.runtime.files import rename


@dataclass(frozen=True)
class Usage:
    """What one folder holds and may hold, in bytes. `limit` None: as much as there is."""

    used: int
    limit: int | None


class Quotas(Protocol):
    """Folders on one file system, each of which may have a limit. All raise OSError for what the file system refuses."""

    name: str  # as checks and documentation call it

    def create(self, path: Path) -> None:
        """Make an empty folder, 0700 and root's."""
        ...

    def limit(self, path: Path, size: int | None) -> bool:
        """Keep a folder to `size` bytes; None: no limit. Returns whether that holds now. Safe to repeat.

        What is there stays, also where it is more than `size`: then nothing can be added until enough was removed.
        """
        ...

    def usage(self, path: Path) -> Usage | None:
        """What a folder holds; None if the file system does not count it. May lag by the seconds that data is cached."""
        ...

    def bind(self, folder: Path, uid: int, size: int | None) -> None:
        """Keep all that `uid` owns on the file system of `folder` to `size`, where that is what a member cannot get round."""
        ...

    def gather(self, folder: Path) -> None:
        """Look for what members made on the file system of `folder` to be counted apart, and count it where it lies."""
        ...

    def move(self, path: Path, target: Path) -> None:
        """Move a folder into the archive or out of it (on the same file system), whole or not at all.

        Raises FarmletError if there is something already.
        """
        ...


class Plain:
    """A `Quotas` of plain folders, on any file system; what limits somebody else sets there can be seen."""

    name = "plain folders, no limits"

    def create(self, path: Path) -> None:
        path.mkdir(mode=0o700)
        path.chmod(0o700)

    def limit(self, path: Path, size: int | None) -> bool:
        return size is None

    def usage(self, path: Path) -> Usage | None:
        """Known where a folder shows a size of its own: a file server's with project quotas, a file system each."""
        own, around = os.statvfs(path), os.statvfs(path.parent)
        if own.f_blocks * own.f_frsize == around.f_blocks * around.f_frsize:
            return None
        return Usage((own.f_blocks - own.f_bfree) * own.f_frsize, own.f_blocks * own.f_frsize)

    def bind(self, folder: Path, uid: int, size: int | None) -> None:
        pass

    def gather(self, folder: Path) -> None:
        pass

    def move(self, path: Path, target: Path) -> None:
        if target.is_symlink() or target.exists():  # rename(2) would replace an empty folder
            raise FarmletError(str(target), "is there already", f"move it or {path} away by hand")
        rename(path, target)
