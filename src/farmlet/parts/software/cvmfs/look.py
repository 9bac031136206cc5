"""A process that looks into a mounted repository, so that one that hangs hangs it alone: `look ROOT [FILE]`.

It writes one JSON value: {"file": path below ROOT, "bytes", "revision"}, or {"fault": words}. Standard library only.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path

SMALL = 1 << 20  # bytes
FOLDERS = 200  # looked through at most, for a file


def find_file(root: Path) -> Path:
    """The first small file, in the order of names. Raises OSError."""
    for count, (folder, folders, names) in enumerate(os.walk(root)):
        folders.sort()
        for name in sorted(names):
            found = os.lstat(Path(folder, name))
            if stat.S_ISREG(found.st_mode) and 0 < found.st_size <= SMALL:
                return Path(folder, name)
        if count >= FOLDERS:
            break
    raise FileNotFoundError(f"no small file in the first folders of {root}: name one, software.cvmfs.files")


def look(root: Path, file: str) -> dict[str, object]:
    next(root.iterdir(), None)  # it mounts what is not mounted yet
    try:
        revision = int(os.getxattr(root, "user.revision"))
    except (OSError, ValueError):
        return {"fault": f"{root} is no mounted repository"}
    path = root / file if file else find_file(root)
    with path.open("rb") as handle:
        size = len(handle.read(SMALL))
    return {"file": str(path.relative_to(root)), "bytes": size, "revision": revision}


def main(root: str, file: str = "") -> int:
    try:
        found = look(Path(root), file)
    except OSError as error:
        found = {"fault": f"{error.filename}: {error.strerror}" if error.filename else str(error)}
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
