"""Folders on btrfs: a subvolume each, kept to its size by a quota group (qgroup). Root, standard library only.

A member may make subvolumes in a folder of theirs, and the group of one subvolume counts that one alone. So the limit of
subvolume N stands at the group 1/N, which counts N and all that are made inside. Where quotas are simple ones the kernel puts a
new subvolume into the groups of the one around it; but whoever makes it may name other groups, or none, and with full quotas
it never does. `gather` mends both.

The calls are those of linux/btrfs.h. Debian's `btrfs` command would do the same, but not everywhere: that of Debian 12 knows no
simple quotas, and thousands of members would be thousands of processes. What is used is read in /sys/fs/btrfs.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from farmlet.runtime.disk.quotas import Plain, Usage

SUBVOL_CREATE, INO_LOOKUP, FS_INFO = 0x5000940E, 0xD0009412, 0x8400941F
QUOTA_CTL, QGROUP_ASSIGN, QGROUP_CREATE, QGROUP_LIMIT, QUOTA_RESCAN = 0xC0109428, 0x40189429, 0x4010942A, 0x8030942B, 0x4040942C
TREE_SEARCH = 0xC0709411  # the second version, with as much room for answers as is given
# struct btrfs_ioctl_search_key: tree, objects from and to, offsets, transactions, types, items; then the room. And an item's head
KEY, HEAD = struct.Struct("=7Q4I32xQ"), struct.Struct("=3Q2I")
ROOM = 1 << 20
ROOTS, QUOTAS = 1, 8  # trees: of subvolumes, and of quota groups
BACKREF, RELATION = 144, 246  # items: (subvolume, _, the one around it); (group, _, the other), both ways round
# simple quotas (Linux 6.7) cost next to nothing, since they count for each block who wrote it first; the older ones come next
SIMPLE, FULL = 4, 1
MAX_REFERENCED = 1  # of the limits of a qgroup, the one on all that a subvolume refers to
NO_LIMIT = 2**64 - 1
ROOT = 256  # inode number of a subvolume's own folder
LEVEL = 1 << 48  # the group 1/N has the number LEVEL + N
ROUNDS = 20  # of looks for new subvolumes at one go, while somebody makes more of them
SYS = Path("/sys/fs/btrfs")

_seen: dict[str, set[str]] = {}  # the groups of each file system when `gather` was last done with it


class Btrfs(Plain):
    """A `Quotas` of subvolumes. A folder that was made otherwise, by hand or before, stays what it is: without a limit."""

    name = "btrfs, limits by quota groups"

    def create(self, path: Path) -> None:
        with _open(path.parent) as number:
            # a bytearray: of bytes Python takes no more than 1024
            fcntl.ioctl(number, SUBVOL_CREATE, bytearray(struct.pack("=q4088s", 0, os.fsencode(path.name))))
        path.chmod(0o700)

    def limit(self, path: Path, size: int | None) -> bool:
        if path.stat().st_ino != ROOT:
            return size is None
        system, subvolume = _look(path)
        off, whole = not (SYS / system / "qgroups").exists(), _read(system, subvolume)
        if off and size is None:
            return True
        if whole is None or whole.limit != size:
            # by the folder above: in one that is over its limit the kernel refuses even to raise that
            with _open(path.parent) as number:
                if off:
                    _enable(number)
                with suppress(FileExistsError):
                    fcntl.ioctl(number, QGROUP_CREATE, struct.pack("=2Q", 1, LEVEL + subvolume))
                _assign(number, subvolume, subvolume)
                _limit(number, LEVEL + subvolume, size)  # at last: until then all this is done again
        return True

    def usage(self, path: Path) -> Usage | None:
        if path.stat().st_ino != ROOT:
            return None
        system, subvolume = _look(path)
        return _read(system, subvolume)

    def gather(self, folder: Path) -> None:
        system, _ = _look(folder)
        for _ in range(ROUNDS):
            try:
                groups = {path.name for path in (SYS / system / "qgroups").iterdir()}
            except FileNotFoundError:  # quotas are off
                return
            if groups == _seen.get(system):
                return
            limited = {int(name[2:]) for name in groups if name.startswith("1_")}
            with _open(folder) as number:
                for subvolume, group, belongs in _compare(number, limited):
                    _assign(number, subvolume, group, belongs)
            _seen[system] = groups


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


def _read(system: str, subvolume: int) -> Usage | None:
    """What is known of the group 1/N of a subvolume; None: there is none."""
    group = SYS / system / "qgroups" / f"1_{subvolume}"
    try:
        flags, limit, used = (int((group / name).read_text(), 0) for name in ("limit_flags", "max_referenced", "referenced"))
    except FileNotFoundError:
        return None
    return Usage(used, limit if flags & MAX_REFERENCED else None)


def _enable(number: int) -> None:
    """Turn quotas on, in the way that this kernel has. Data that lies there is counted by the older way only."""
    try:
        fcntl.ioctl(number, QUOTA_CTL, bytearray(struct.pack("=QQ", SIMPLE, 0)))
    except OSError:
        fcntl.ioctl(number, QUOTA_CTL, bytearray(struct.pack("=QQ", FULL, 0)))


def _limit(number: int, group: int, size: int | None) -> None:
    # struct btrfs_ioctl_qgroup_limit_args: group; flags, max_rfer, max_excl, rsv_rfer, rsv_excl
    fcntl.ioctl(number, QGROUP_LIMIT, struct.pack("=6Q", group, MAX_REFERENCED, NO_LIMIT if size is None else size, 0, 0, 0))


def _assign(number: int, subvolume: int, group: int, belongs: bool = True) -> None:
    """Have a subvolume count for the group 1/`group`, or no more. One that is gone meanwhile is nobody's business."""
    try:
        unsure = fcntl.ioctl(number, QGROUP_ASSIGN, bytearray(struct.pack("=3Q", belongs, subvolume, LEVEL + group)))
        if unsure:  # full quotas, of a snapshot: what it shares with others is to be counted anew
            fcntl.ioctl(number, QUOTA_RESCAN, bytes(64))
    except OSError as error:
        # so already; no such group, or relation; counting already
        if error.errno not in (errno.EEXIST, errno.ENOENT, errno.EINVAL, errno.EINPROGRESS):
            raise


def _compare(number: int, limited: set[int]) -> list[tuple[int, int, bool]]:
    """What is to be changed: [(subvolume, group, whether it belongs there)]. `limited`: the subvolumes with a group 1/N."""
    around = {child: parent for child, kind, parent in _search(number, ROOTS) if kind == BACKREF}
    counted: dict[int, set[int]] = {}
    for group, kind, other in _search(number, QUOTAS):
        if kind == RELATION and group < LEVEL <= other and other - LEVEL in limited:
            counted.setdefault(group, set()).add(other - LEVEL)
    changes = []
    for subvolume in around:
        above: int | None = subvolume
        while above is not None and above not in limited:
            above = around.get(above)
        wanted, now = {above} - {None}, counted.get(subvolume, set())
        changes += [(subvolume, group, True) for group in wanted - now if group]
        changes += [(subvolume, group, False) for group in now - wanted]
    return changes


def _search(number: int, tree: int) -> Iterator[tuple[int, int, int]]:
    """The keys (object, type, offset) of a tree from the first subvolume on."""
    first, offset, kind = 0, 0, 0
    while True:
        key = KEY.pack(tree, first, NO_LIMIT, offset, NO_LIMIT, 0, NO_LIMIT, kind, 255, 2**32 - 1, 0, ROOM)
        answer = bytearray(key + bytes(ROOM))
        fcntl.ioctl(number, TREE_SEARCH, answer)
        count, place = KEY.unpack_from(answer)[9], KEY.size
        if not count:
            return
        for _ in range(count):
            _, first, offset, kind, length = HEAD.unpack_from(answer, place)
            yield first, kind, offset
            place += HEAD.size + length
        offset += 1


@contextmanager
def _open(folder: Path) -> Iterator[int]:
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield number
    finally:
        os.close(number)
