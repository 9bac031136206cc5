"""Folders on ext4 and XFS that are mounted with quotas: each is a project of its own. Root, standard library only.

A project is a number that a folder and all below it bear; the kernel counts by it. But whoever owns a file may give it another
number, without any privilege (ioctl FS_IOC_FSSETXATTR): then it counts for nobody, or for somebody else. So projects bind those
who are not on this node (`Project`): members who come by NFS or XRootD. User quotas bind those who are here (`Owned`), and
projects only show.

The calls are those of linux/fs.h and linux/quota.h, since programs (`setquota -P`) would be thousands of processes for thousands
of members. quotactl_fd(2) is in Linux 5.14 and later; it needs no path of a device, which a container would not have.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import stat
import struct
from contextlib import suppress
from pathlib import Path

from farmlet.runtime.disk.quotas import Plain, Usage

QUOTACTL_FD = 443  # the system call's number, on all architectures
USER, PROJECT = 0, 2  # the kinds of quotas
ENFORCED = {USER: 1 << 1, PROJECT: 1 << 5}  # what GETSTATE tells: not only counted
GETSTATE, GETINFO, SETINFO, GETQUOTA, SETQUOTA = 0x5808, 0x800005, 0x800006, 0x800007, 0x800008
LIMITS = 1  # of struct if_dqblk, that the limits of space are meant
BLOCK = 1024  # bytes, in which the kernel takes limits
# struct if_dqblk: hard and soft limit of space (blocks), space (bytes), the same of inodes, two times, what is meant
QUOTA = struct.Struct("=8QI4x")
INFO = struct.Struct("=2Q2I")  # struct if_dqinfo: for how many seconds soft limits may be exceeded, two; two
FOREVER = 2**31 - 1  # seconds
GETXATTR, SETXATTR = 0x801C581F, 0x401C5820
ATTRIBUTES = struct.Struct("=5I8x")  # struct fsxattr: flags, two of extents, project, one of extents
INHERIT = 0x200  # what is made in the folder is of its project too
LIBC = ctypes.CDLL(None, use_errno=True)


class Project(Plain):
    """A `Quotas` of projects. A folder's number is that of its inode, which nobody can choose, wherever it is moved."""

    name = "project quotas"

    def limit(self, path: Path, size: int | None) -> bool:
        number = choose_project(path)
        if size is not None and find_project(path) != number:
            join(path, number)
        wanted = self._form(0 if size is None else max(size // BLOCK, 1))  # 0: no limit
        if _ask(path, number)[:2] != wanted:
            self._set(path, number, wanted)
        return True

    def usage(self, path: Path) -> Usage | None:
        number = choose_project(path)
        if find_project(path) != number:
            return None
        hard, soft, used, *_ = _ask(path, number)
        return Usage(used, (hard or soft) * BLOCK or None)

    def _form(self, blocks: int) -> tuple[int, int]:
        return blocks, 0

    def _set(self, path: Path, number: int, limits: tuple[int, int], kind: int = PROJECT) -> None:
        _call(path, SETQUOTA, number, bytearray(QUOTA.pack(*limits, 0, 0, 0, 0, 0, 0, LIMITS)), kind)


class Owned(Project):
    """The same where owners are limited, by `bind`. Limits of folders are soft ones that last: they are shown and stop nobody.

    Else a member could stop another one, with files that have the other's number. What a member writes as one of the numbers
    that containers give (subuid(5)) is not counted.
    """

    name = "user quotas"

    def bind(self, folder: Path, uid: int, size: int | None) -> None:
        wanted = (0 if size is None else max(size // BLOCK, 1), 0)
        if _ask(folder, uid, USER)[:2] != wanted:
            self._set(folder, uid, wanted, USER)

    def _form(self, blocks: int) -> tuple[int, int]:
        return 0, blocks

    def _set(self, path: Path, number: int, limits: tuple[int, int], kind: int = PROJECT) -> None:
        if kind == PROJECT:
            info = bytearray(INFO.size)
            _call(path, GETINFO, 0, info)
            if INFO.unpack(info)[0] != FOREVER:
                _call(path, SETINFO, 0, bytearray(INFO.pack(FOREVER, 0, 0, 1)))
        super()._set(path, number, limits, kind)


def has_quotas(folder: Path, kind: int = PROJECT) -> bool:
    """Whether the file system keeps projects, or users, to limits."""
    state = bytearray(256)
    state[0] = 1  # version of struct fs_quota_statv
    try:
        _call(folder, GETSTATE, 0, state, kind)
    except OSError:
        return False
    return bool(int.from_bytes(state[2:4], "little") & ENFORCED[kind])


def choose_project(path: Path) -> int:
    return path.stat().st_ino & 0xFFFFFFFF


def find_project(path: Path) -> int:
    """The project that a folder bears, by whomever it was given; 0: none."""
    number = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        return int(ATTRIBUTES.unpack(_attributes(number))[3])
    finally:
        os.close(number)


def join(path: Path, number: int) -> None:
    """Make a folder, and all that is in it already, a project.

    Whoever owns it may put links there meanwhile, so what is below is opened from its own folder.
    """
    for _, _, files, folder in os.fwalk(path):
        _mark(".", folder, number, os.O_DIRECTORY)
        for name in files:
            with suppress(FileNotFoundError):  # removed meanwhile
                if stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):  # to open a pipe is to wait
                    _mark(name, folder, number, os.O_NONBLOCK)


def _mark(name: str, folder: int, project: int, flags: int) -> None:
    try:
        number = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | flags, dir_fd=folder)
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


def _ask(path: Path, owner: int, kind: int = PROJECT) -> tuple[int, ...]:
    """What is known of a project or user: the fields of QUOTA. Zeros for one that nothing was said of yet."""
    found = bytearray(QUOTA.size)
    try:
        _call(path, GETQUOTA, owner, found, kind)
    except OSError as error:
        if error.errno != errno.ENOENT:  # XFS, of a project without files or limits
            raise
    return QUOTA.unpack(found)


def _call(path: Path, command: int, owner: int, data: bytearray, kind: int = PROJECT) -> None:
    number = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        buffer = (ctypes.c_char * len(data)).from_buffer(data)
        code = ctypes.c_uint(command << 8 | kind)
        if LIBC.syscall(QUOTACTL_FD, number, code, ctypes.c_uint(owner), buffer):
            fault = ctypes.get_errno()
            raise OSError(fault, os.strerror(fault), str(path))
    finally:
        os.close(number)
