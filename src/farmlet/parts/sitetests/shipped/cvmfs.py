# /// sitetest
# timeout = 60
# ///
"""The CVMFS repositories are there that the site promises (`sitetests: {cvmfs: …}`): each is mounted, and its top is read."""

import os
import time

ROOT = os.environ.get("FARMLET_CVMFS_ROOT", "/cvmfs")


def test() -> str:
    names = os.environ.get("FARMLET_REPOSITORIES", "").split()
    if not names:
        return "no repository is promised here"
    faults, numbers = [], []
    for name in names:
        start, root = time.monotonic(), os.path.join(ROOT, name)
        try:
            found = os.listdir(root)  # it mounts what is not mounted yet
            revision = os.getxattr(root, "user.revision").decode()
        except OSError as error:
            print(f"{root}: {error}")
            faults.append(f"{name} is not there: {error.strerror}")
            continue
        seconds = time.monotonic() - start
        print(f"{root}: revision {revision}, {len(found)} entries, {seconds:.1f} s")
        if not found:
            faults.append(f"{name} is empty")
        numbers.append(f"'{name}'={seconds:.2f}s")
    assert not faults, "; ".join(faults) + "|" + " ".join(numbers)
    return f"{len(names)} repositories are there|{' '.join(numbers)}"
