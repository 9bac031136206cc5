"""Written by farmlet; runs before XRootD starts: takes away what its writers had not closed when the server last ended.

XRootD keeps a list of such files and would do it itself, but does not start at all while a folder is on the list, and a PUT to
a folder's name puts it there. So this goes first, and the list with it. A file that is not closed has the sticky bit; what was
to replace another lies beside that, under a name of room.cc.
"""

import os
import re
import stat
import sys

BESIDE = re.compile(rb"\.farmlet-new-\d+-\d+")


def sweep(root: str, log: str) -> None:
    """Remove the files below `root` that the list `log` names and that are not closed; then the list."""
    try:
        with open(log, "rb") as stream:
            names = re.findall(rb"/[^\0]*", stream.read())
    except FileNotFoundError:
        return
    paths = {os.path.normpath(os.fsencode(root) + name) for name in names}
    paths = {path for path in paths if path.startswith(os.fsencode(root) + b"/")}
    for path in paths:
        remove(path)
    for folder in {os.path.dirname(path) for path in paths}:
        for path in list_beside(folder):
            remove(path, begun=True)
    os.unlink(log)


def list_beside(folder: bytes) -> "list[bytes]":
    try:
        return [os.path.join(folder, name) for name in os.listdir(folder) if BESIDE.fullmatch(name)]
    except OSError:
        return []  # not there any more


def remove(path: bytes, begun: bool = False) -> None:
    """Remove a file that is not closed; `begun`: or that has nothing in it yet."""
    try:
        info = os.lstat(path)
        if stat.S_ISREG(info.st_mode) and (info.st_mode & stat.S_ISVTX or (begun and not info.st_size)):
            os.unlink(path)
            # a name may be no text, and would end this and with it the server
            print("not closed by its writer, removed:", ascii(os.fsdecode(path)))
    except OSError:
        pass  # not there any more, or no path at all


if __name__ == "__main__":
    sweep(*sys.argv[1:])
