"""The program on a host that does not share /cvmfs with the node that publishes: makes its own equal to what the index says.

python -m farmlet.parts.software.sharing.mirror [--config FILE]

A root file system lies unpacked at `/cvmfs/.farmlet/SHA256`, and is shown by a link, which one rename makes or changes. It stays
as long as the node that publishes keeps it: which replaced images are in use is known there.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from farmlet.errors import FarmletError
from farmlet.parts import images
from farmlet.parts.images import NAMES, Row
from farmlet.runtime import program
from farmlet.runtime.files import rename, write
from farmlet.runtime.published import Index, Lack, Store

CONFIG = "/etc/farmlet/mirror.json"
STATE = "state.json"
SPARE = 1 << 30  # bytes of disk that stay free


class Mirror:
    """`top`: what stands for / (tests have another). `store`: where files come from, for a while."""

    def __init__(self, store: Store, top: Path = Path("/")) -> None:
        self._store, self._top, self._kept = store, top, top / "cvmfs" / ".farmlet"

    def run(self) -> list[str]:
        """Fetch, show and remove; in words, what failed. Raises Lack if the index cannot be read: all stays as it is then."""
        index = self._store.index()
        self._kept.mkdir(mode=0o755, parents=True, exist_ok=True)
        for left in self._kept.glob(".*"):
            shutil.rmtree(left)  # of one that was killed
        failed = []
        for path, digest in sorted({**index.folders, **index.shown}.items()):
            try:
                if not (self._kept / digest).is_dir():
                    self._fetch(index, path, digest)
                self._link(path, digest)
            except (Lack, FarmletError, OSError) as error:
                failed.append(f"{path}: {error}")
        self._tell(index)
        self._sweep(index)
        return failed

    def _fetch(self, index: Index, path: str, digest: str) -> None:
        """The root file system at its place, by one rename."""
        size, room = index.files[digest]
        free, need = shutil.disk_usage(self._kept).free, size + room + SPARE
        if free < need:
            raise FarmletError("the disk", f"has {free >> 20} MiB free, and {need >> 20} are needed", f"df -h {self._kept}")
        fresh = Path(tempfile.mkdtemp(prefix=".", dir=self._kept))
        try:
            if path in index.folders:
                self._store.unpack(path, fresh / "root")
            else:
                packed = self._store.get(digest, size)
                words = ["unsquashfs", "-quiet", "-no-progress", "-no-xattrs", "-dest", str(fresh / "root"), str(packed)]
                program.run(words, seconds=None)
            os.sync()  # all of it is on disk before it has its name
            rename(fresh / "root", self._kept / digest)
        finally:
            shutil.rmtree(fresh)
            self._store.drop(digest)

    def _link(self, path: str, digest: str) -> None:
        link = self._top / path[1:]
        link.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        target = os.path.relpath(self._kept / digest, link.parent)
        if link.is_symlink() and str(link.readlink()) == target:
            return
        if link.is_dir() and not link.is_symlink():
            link.rmdir()  # what is not empty is somebody else's, and stays
        fresh = link.with_name(f".{link.name}.link")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(target)
        rename(fresh, link)

    def _tell(self, index: Index) -> None:
        """The lists of images, in which what is not here is not offered; links to what is no longer shown go."""
        for path, data in index.lists.items():
            folder = self._top / path[1:]
            folder.mkdir(mode=0o755, parents=True, exist_ok=True)
            rows = [Row(**{name: value for name, value in row.items() if name in NAMES}) for row in data["images"]]
            images.save([replace(row, offered=row.offered and self._is_ours(self._top / row.path[1:])) for row in rows], folder)
            for link in folder.rglob("*"):
                if self._is_ours(link) and f"/{link.relative_to(self._top)}" not in index.shown:
                    link.unlink()

    def _is_ours(self, link: Path) -> bool:
        return link.is_symlink() and (link.parent / link.readlink()).resolve().parent == self._kept.resolve()

    def _sweep(self, index: Index) -> None:
        for root in self._kept.iterdir():
            if root.name not in index.files:
                fresh = root.with_name(f".{root.name}")
                rename(root, fresh)
                shutil.rmtree(fresh)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="farmlet-mirror", description="Fetch what is published.")
    parser.add_argument("--config", type=Path, default=Path(CONFIG))
    parser.add_argument("--top", type=Path, default=Path("/"))
    options = parser.parse_args(arguments)
    config = json.loads(options.config.read_text())
    work = Path(config["work"])
    os.umask(0o022)
    with (work / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            failed = Mirror(Store(config["url"], config["authority"], work / "files"), options.top).run()
        except (Lack, OSError) as error:  # the latter of the lists of images, which come last
            failed = [str(error)]
        write(work / STATE, json.dumps({"run": time.time(), "failed": failed}).encode())
    print("\n".join(failed), end="\n" if failed else "")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
