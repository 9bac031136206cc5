"""The unpacked area into its CVMFS repository: one transaction for all that differs, or none.

python -m farmlet.parts.software.unpacked.publish FOLDER REPOSITORY

Clients see what is published, and only then: a transaction that fails is aborted and leaves what was there.
Standard library only; `cvmfs_server` and rsync are the host's.
"""

from __future__ import annotations

import fcntl
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from farmlet.errors import FarmletError
from farmlet.runtime.checks import Failed
from farmlet.runtime.files import write

# what is the area's own business; `.cvmfs…` besides a catalogue's mark is the repository's
OWN = ("/.work", "/.lock", "/.state.json", "/.publisher", "/.cvmfsdirtab", "/new_repository")
OPTIONS = ("-aH", "--numeric-ids", "--delete", "--links", *(f"--exclude={one}" for one in OWN))
LAST = ".publisher"  # what the last attempt said; empty when it ended well
DAYS = 7  # that the whitelist holds at least: its publisher's master key makes it anew
HOURS = 4 * 3600


class Publisher:
    """Of `folder` into `repository`, which is mounted below `top`."""

    def __init__(self, folder: Path, repository: str, top: Path = Path("/cvmfs")) -> None:
        self._folder, self._repository, self._mount = folder, repository, top / repository
        self._mark = folder.parent / f"{repository}.transaction"  # a transaction of ours is open

    def run(self) -> bool:
        """Whether something was published. Raises FarmletError."""
        with (self._folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # nothing is fetched meanwhile
            self._settle()
            if not (self._folder / "images.json").is_file() or not self._differs():
                return False
            self._mark.touch()
            try:
                call("cvmfs_server", "transaction", self._repository)
                call("rsync", *OPTIONS, f"{self._folder}/", f"{self._mount}/")
                call("cvmfs_server", "publish", self._repository)
            except FarmletError:
                self._abort()
                raise
            self._mark.unlink()
            return True

    def _settle(self) -> None:
        """End a transaction of ours that was killed. One of somebody else's stays, and nothing is published."""
        if self._mark.exists():
            self._abort()
        if state := find_state(self._repository):
            raise FarmletError(self._repository, state, f"publish or abort it: cvmfs_server abort {self._repository}")
        if not self._mount.is_dir():
            raise FarmletError(self._repository, "is not mounted here", f"cvmfs_server mount {self._repository}")

    def _abort(self) -> None:
        if find_state(self._repository):
            call("cvmfs_server", "abort", "-f", self._repository)
        self._mark.unlink()

    def _differs(self) -> bool:
        said = call("rsync", *OPTIONS, "--dry-run", "--itemize-changes", f"{self._folder}/", f"{self._mount}/")
        # that a folder's time is another is none
        return any(not line.startswith(".d..t") for line in said.splitlines() if line.strip())


def find_state(repository: str) -> str:
    """What is the matter with it, in words; "" if it can be published. Raises FarmletError."""
    found = re.search(rf"^{re.escape(repository)} \((.*)\)", call("cvmfs_server", "list"), re.MULTILINE)
    if found is None:
        raise FarmletError(repository, "is no repository of this host", "cvmfs_server mkfs")
    return "is in a transaction" if "in transaction" in found[1] else ""


def call(*words: str) -> str:
    """Standard output. Raises FarmletError with the end of what it says."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL, timeout=HOURS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FarmletError(" ".join(words[:2]), str(error)[:300], "") from error
    if done.returncode:
        lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        said = "; ".join(lines[-3:])[-400:] or f"ended with {done.returncode}"
        raise FarmletError(" ".join(words[:2]), said, "")
    return done.stdout


def check_publisher(folder: str, repository: str) -> str:
    """The last publishing ended well, no transaction is left open, and the whitelist holds for some days."""
    try:
        state = find_state(repository)
        info = call("cvmfs_server", "info", repository)
        last = (Path(folder) / LAST).read_text()
    except (FarmletError, OSError) as error:
        raise Failed(" ".join(str(error).split())) from None
    found = re.search(r"valid for another (\d+) days?", info)
    left = f"its whitelist is valid for another {found[1]} days" if found else "its whitelist is not valid"
    if last:
        raise Failed(f"{repository}: {' '.join(last.split())}; what was published before is there still")
    if state:
        raise Failed(f"{repository} {state}; it is published once that has ended")
    if not found or int(found[1]) < DAYS:
        raise Failed(f"{repository}: {left}: cvmfs_server resign {repository}, with its master key")
    return f"{repository}: {left}"


def main(arguments: Sequence[str]) -> int:
    folder, repository = Path(arguments[0]), arguments[1]
    said = ""
    try:
        if Publisher(folder, repository).run():
            print(f"{repository}: published")
    except FarmletError as error:
        said = str(error)
        print(said, file=sys.stderr)
    write(folder / LAST, said.encode())
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
