"""Folders on btrfs: a subvolume each, kept to its size by its quota group (qgroup). Root, standard library only.

The calls are those of linux/btrfs.h. Debian's `btrfs` command would do the same, but not everywhere: that of Debian 12 knows no
simple quotas, and thousands of members would be thousands of processes. What is used is read in /sys/fs/btrfs.
"""

from __future__ import annotations

import fcntl
import os
import struct
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from farmlet.runtime.room import Plain, Usage

SUBVOL_CREATE, INO_LOOKUP, FS_INFO = 0x5000940E, 0xD0009412, 0x8400941F
QUOTA_CTL, QGROUP_LIMIT = 0xC0109428, 0x8030942B
# simple quotas (Linux 6.7) cost next to nothing, since they count for each block who wrote it first; the older ones come next
SIMPLE, FULL = 4, 1
MAX_REFERENCED = 1  # of the limits of a qgroup, the one on all that a subvolume refers to
NO_LIMIT = 2**64 - 1
ROOT = 256  # inode number of a subvolume's own folder
SYS = Path("/sys/fs/btrfs")


class Btrfs(Plain):
    """A `Room` of subvolumes. A folder that was made otherwise, by hand or before, stays what it is: without a limit."""

    name = "btrfs, limits by quota groups"

    def create(self, path: Path) -> None:
        with _open(path.parent) as number:
            # a bytearray: of bytes Python takes no more than 1024
            fcntl.ioctl(number, SUBVOL_CREATE, bytearray(struct.pack("=q4088s", 0, os.fsencode(path.name))))
        path.chmod(0o700)

    def limit(self, path: Path, size: int | None) -> bool:
        if path.stat().st_ino != ROOT:
            return size is None
        usage = self.usage(path)
        if usage is None and size is None:
            return True
        if usage is None:
            _enable(path.parent)
        if usage is None or usage.limit != size:
            # struct btrfs_ioctl_qgroup_limit_args: group; flags, max_rfer, max_excl, rsv_rfer, rsv_excl
            wanted = struct.pack("=6Q", _look(path)[1], MAX_REFERENCED, NO_LIMIT if size is None else size, 0, 0, 0)
            # by the folder above: in one that is over its limit the kernel refuses even to raise that
            with _open(path.parent) as number:
                fcntl.ioctl(number, QGROUP_LIMIT, wanted)
        return True

    def usage(self, path: Path) -> Usage | None:
        if path.stat().st_ino != ROOT:
            return None
        system, subvolume = _look(path)
        group = SYS / system / "qgroups" / f"0_{subvolume}"
        try:
            flags, limit, used = (int((group / name).read_text(), 0) for name in ("limit_flags", "max_referenced", "referenced"))
        except FileNotFoundError:  # quotas are off
            return None
        return Usage(used, limit if flags & MAX_REFERENCED else None)


def is_btrfs(folder: Path) -> bool:
    try:
        with _open(folder) as number:
            fcntl.ioctl(number, FS_INFO, bytearray(1024))
    except OSError:
        return False
    return True


def _look(path: Path) -> tuple[str, int]:
    """The UUID of the file system and the number of the subvolume that `path` lies in."""
    with _open(path) as number:
        info, found = bytearray(1024), bytearray(struct.pack("=QQ4080x", 0, ROOT))
        fcntl.ioctl(number, FS_INFO, info)
        fcntl.ioctl(number, INO_LOOKUP, found)
    return str(uuid.UUID(bytes=bytes(info[16:32]))), int.from_bytes(found[:8], "little")


def _enable(path: Path) -> None:
    """Turn quotas on, in the way that this kernel has. Data that lies there is counted by the older way only."""
    with _open(path) as number:
        try:
            fcntl.ioctl(number, QUOTA_CTL, bytearray(struct.pack("=QQ", SIMPLE, 0)))
        except OSError:
            fcntl.ioctl(number, QUOTA_CTL, bytearray(struct.pack("=QQ", FULL, 0)))


@contextmanager
def _open(folder: Path) -> Iterator[int]:
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield number
    finally:
        os.close(number)
