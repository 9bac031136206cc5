"""The disk of a sandbox: a btrfs in a file beside the state, for folders that are kept to sizes (`Role.quotas`).

Docker's volumes lie on what this host happens to have, where folders mostly have no limits. The file is sparse: it takes what
is written. Nothing but the engine mounts it, and no node sees more of it than its own folders.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from farmlet.errors import FarmletError

LEAST = 1 << 30  # bytes, below which it is not worth it
OPTIONS = "loop,noatime,discard=async"  # what is deleted goes back to the host


class Disk:
    """`folder`: the state folder of the facility."""

    def __init__(self, folder: Path) -> None:
        self.image, self.path = folder / "disk.btrfs", folder / "disk"

    def make(self) -> None:
        """Make it anew and mount it. Raises FarmletError if this host cannot have one; then nothing is left of it."""
        try:
            self.detach()  # of an `up` that was killed
            size = shutil.disk_usage(self.image.parent).free // 2
            if size < LEAST:
                raise FarmletError(str(self.image), "there is no room for it")
            with self.image.open("wb") as stream:
                os.fchmod(stream.fileno(), 0o600)
                stream.truncate(size)
            _run(["mkfs.btrfs", "-q", "-f", str(self.image)])
            self.attach()
        except BaseException:
            self.image.unlink(missing_ok=True)
            raise

    def attach(self) -> None:
        """Have it mounted; safe to repeat. Raises FarmletError."""
        self.path.mkdir(mode=0o700, exist_ok=True)
        if not self.path.is_mount():
            _run(["mount", "-t", "btrfs", "-o", OPTIONS, str(self.image), str(self.path)])

    def detach(self) -> None:
        """Have it not mounted; safe to repeat. Raises FarmletError while something here uses it."""
        if self.path.is_mount():
            _run(["umount", str(self.path)])


def _run(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        raise FarmletError("this host", f"`{command[0]}` is not installed", "apt-get install btrfs-progs") from None
    if done.returncode:
        said = " ".join(done.stderr.split()) or f"ended with {done.returncode}"
        raise FarmletError(command[-1], f"{command[0]}: {said}", "`dmesg` may say more")
