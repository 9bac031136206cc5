"""Folders on ext4 and XFS that are mounted with project quotas (`prjquota`): each is a project of its own. Standard library only.

A project is a number that a folder and all below it bear; the kernel counts by it. The calls are those of linux/fs.h and
linux/quota.h, since programs (`setquota -P`) would be thousands of processes for thousands of members. quotactl_fd(2) is in
Linux 5.14 and later; it needs no path of a device, which a container would not have.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import stat
import struct
from pathlib import Path

from farmlet.runtime.room import Plain, Usage

QUOTACTL_FD, PROJECT = 443, 2  # the system call's number, on all architectures; the kind of quota
GETINFO, GETQUOTA, SETQUOTA = 0x800005, 0x800007, 0x800008
LIMITS = 1  # of struct if_dqblk, that the limits of space are meant
BLOCK = 1024  # bytes, in which the kernel takes limits
# struct if_dqblk: hard and soft limit of space (blocks), space (bytes), the same of inodes, two times, what is meant
QUOTA = struct.Struct("=8QI4x")
GETXATTR, SETXATTR = 0x801C581F, 0x401C5820
ATTRIBUTES = struct.Struct("=5I8x")  # struct fsxattr: flags, two of extents, project, one of extents
INHERIT = 0x200  # what is made in the folder is of its project too
LIBC = ctypes.CDLL(None, use_errno=True)


class Project(Plain):
    """A `Room` of projects. The number of a folder's is that of its inode, which it keeps wherever it is moved."""

    name = "project quotas"

    def limit(self, path: Path, size: int | None) -> bool:
        number = find_project(path)
        if not number and size is None:
            return True
        if not number:
            number = path.stat().st_ino & 0xFFFFFFFF
            join(path, number)
        blocks = 0 if size is None else max(size // BLOCK, 1)  # 0: no limit
        if _ask(path, number)[0] != blocks:
            _call(path, SETQUOTA, number, bytearray(QUOTA.pack(blocks, 0, 0, 0, 0, 0, 0, 0, LIMITS)))
        return True

    def usage(self, path: Path) -> Usage | None:
        number = find_project(path)
        if not number:
            return None
        blocks, _, used, *_ = _ask(path, number)
        return Usage(used, blocks * BLOCK or None)


def has_quotas(folder: Path) -> bool:
    """Whether the file system counts by projects."""
    try:
        _call(folder, GETINFO, 0, bytearray(24))
    except OSError:
        return False
    return True


def find_project(path: Path) -> int:
    """The project of a folder; 0: none."""
    number = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        return int(ATTRIBUTES.unpack(_attributes(number))[3])
    finally:
        os.close(number)


def join(path: Path, number: int) -> None:
    """Make a folder, and all that is in it already, a project."""
    for folder, _, files in os.walk(path):
        _mark(Path(folder), number, os.O_DIRECTORY)
        for name in files:
            file = Path(folder, name)
            if stat.S_ISREG(file.lstat().st_mode):  # to open a pipe is to wait for its other end
                _mark(file, number, os.O_NONBLOCK)


def _mark(path: Path, project: int, flags: int) -> None:
    try:
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | flags)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP):  # removed meanwhile, or made a link
            return
        raise
    try:
        flag, extent, extents, _, cow = ATTRIBUTES.unpack(_attributes(number))
        inherit = INHERIT if flags & os.O_DIRECTORY else 0
        fcntl.ioctl(number, SETXATTR, ATTRIBUTES.pack(flag | inherit, extent, extents, project, cow))
    finally:
        os.close(number)


def _attributes(number: int) -> bytes:
    return fcntl.ioctl(number, GETXATTR, bytes(ATTRIBUTES.size))


def _ask(path: Path, project: int) -> tuple[int, ...]:
    """What is known of a project: the fields of QUOTA. Zeros for one that nothing was said of yet."""
    found = bytearray(QUOTA.size)
    try:
        _call(path, GETQUOTA, project, found)
    except OSError as error:
        if error.errno != errno.ENOENT:  # XFS, of a project without files or limits
            raise
    return QUOTA.unpack(found)


def _call(path: Path, command: int, project: int, data: bytearray) -> None:
    number = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        buffer = (ctypes.c_char * len(data)).from_buffer(data)
        kind = ctypes.c_uint(command << 8 | PROJECT)
        if LIBC.syscall(QUOTACTL_FD, number, kind, ctypes.c_uint(project), buffer):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), str(path))
    finally:
        os.close(number)
