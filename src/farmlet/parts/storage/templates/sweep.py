"""Written by farmlet; runs before XRootD starts: takes away what its writers had not closed when the server last ended.

XRootD keeps a list of such files and would do it itself, but does not start at all while a folder is on the list, and a PUT to
a folder's name puts it there. So this goes first, and the list with it. A file that is not closed has the sticky bit.
"""

import os
import re
import stat
import sys


def sweep(root: str, log: str) -> None:
    """Remove the files below `root` that the list `log` names and that are not closed; then the list."""
    try:
        with open(log, "rb") as stream:
            names = re.findall(rb"/[^\0]*", stream.read())
    except FileNotFoundError:
        return
    for name in names:
        path = os.path.normpath(os.fsencode(root) + name)
        if path.startswith(os.fsencode(root) + b"/"):
            remove(path)
    os.unlink(log)


def remove(path: bytes) -> None:
    try:
        mode = os.lstat(path).st_mode
        if stat.S_ISREG(mode) and mode & stat.S_ISVTX:
            os.unlink(path)
            print("not closed by its writer, removed:", os.fsdecode(path))
    except OSError:
        pass  # not there any more, or no path at all


if __name__ == "__main__":
    sweep(*sys.argv[1:])
