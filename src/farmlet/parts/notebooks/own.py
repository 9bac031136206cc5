"""Members' own images, as the member who wants one finds them and unpacks one for a server: `own.py list`, `own.py unpack …`.

The Hub has it run as that member, so that nothing which belongs to members is ever read, or mounted, by root: who may read an
image, the kernel says, and room is their own. Prints one line of JSON. Standard library only.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection
from pathlib import Path

from farmlet.errors import FarmletError
from farmlet.facility.places import OWN_IMAGES
from farmlet.parts.own import list_visible, recall

FOLDER = ".farmlet-images"  # below the member's scratch or home
PAGE = 4096  # to which what is in a SIF is aligned
MAGIC = b"hsqs"  # how a squashfs begins
HEAD = 1 << 20  # bytes in which it does
INSIDE = "opt/own"  # the member's part of an image; see `farmlet-image`
SECONDS = 120


def describe(folder: Path) -> list[dict[str, object]]:
    """What the Hub is told of each."""
    return [
        {"owner": owner, "name": record.name, "base": record.base, "made": record.made, "hub": record.hub}
        for owner, record in list_visible(folder)
    ]


def unpack(folder: Path, owner: str, name: str, place: Path, kept: Collection[str]) -> str:
    """The folder below `place` with what is /opt/own in the image; others go, but those `kept`. Raises FarmletError."""
    record = next((one for who, one in list_visible(folder) if (who, one.name) == (owner, name)), None)
    if record is None:
        raise FarmletError(f"{owner}/{name}", "is not there any more")
    try:
        handle = os.open(record.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as image:
            file = os.fstat(handle)
            label = f"{record.path} {file.st_ino} {file.st_size} {file.st_mtime_ns}"
            target = place / FOLDER / hashlib.sha256(label.encode(errors="replace")).hexdigest()[:16]
            target.parent.mkdir(mode=0o700, exist_ok=True)
            for path in target.parent.iterdir():
                if path != target and str(path) not in kept:
                    shutil.rmtree(path, ignore_errors=True)
            if not target.is_dir():
                extract(handle, find_squashed(image.read(HEAD)), target)
    except OSError as error:
        raise FarmletError(f"{owner}/{name}", error.strerror or str(error)) from error
    return str(target)


def find_squashed(head: bytes) -> int:
    """Where in a SIF its file system begins. Raises FarmletError."""
    for offset in range(0, len(head), PAGE):
        if head.startswith(MAGIC, offset):
            return offset
    raise FarmletError("the file", "is no image that farmlet-image made")


def extract(handle: int, offset: int, target: Path) -> None:
    work = Path(tempfile.mkdtemp(prefix=".making.", dir=target.parent))
    try:
        words = ["unsquashfs", "-no-progress", "-quiet", "-no-xattrs", "-processors", "2", "-offset", str(offset)]
        words += ["-dest", f"{work}/root", f"/proc/self/fd/{handle}", INSIDE]
        done = subprocess.run(
            words, pass_fds=(handle,), capture_output=True, text=True, errors="replace", timeout=SECONDS, check=False
        )
        if done.returncode:
            raise FarmletError("its packages", f"do not unpack: {(done.stderr or done.stdout).strip()[-300:]}")
        if not os.path.lexists(work / "root" / INSIDE / "bin" / "python3"):
            raise FarmletError("the file", "is no image that farmlet-image made")
        (work / "root" / INSIDE).rename(target)
    except subprocess.TimeoutExpired as error:
        raise FarmletError("its packages", f"do not unpack within {SECONDS} s") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def main(words: list[str], folder: Path = Path(OWN_IMAGES)) -> None:
    try:
        if words[0] == "list":
            with contextlib.suppress(OSError):
                recall(folder)
            print(json.dumps(describe(folder)))
        else:
            _, owner, name, place, *kept = words
            print(json.dumps({"folder": unpack(folder, owner, name, Path(place), kept)}))
    except FarmletError as error:
        print(json.dumps({"error": f"{error.where} {error.what}"}))


if __name__ == "__main__":
    main(sys.argv[1:])
