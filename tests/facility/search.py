"""Run on a node by root: is a secret in a file written lately, in the journal, in the environment or memory of a process?

The arguments are secrets backwards, so that nothing is found that the search itself brought along; the first is a sample, which
is planted in a file, the journal, an environment and a process' memory, and shows that the search finds. Root's own processes
are left out: nobody reads them. Prints what was found where, and `the sample only` if that is all. Standard library only.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

LATELY, LARGE = 900, 1 << 28  # seconds, bytes
SKIP = {"proc", "sys", "dev", "usr"}
SAMPLE = Path("/var/tmp/sample")


def find_files() -> Iterator[bytes]:
    for top, folders, names in os.walk("/"):
        if top == "/":
            folders[:] = [name for name in folders if name not in SKIP]
        for name in names:
            path = Path(top, name)
            try:
                info = path.lstat()
                if path.is_file() and not path.is_symlink() and info.st_mtime > time.time() - LATELY and info.st_size < LARGE:
                    yield path.read_bytes()
            except OSError:
                continue


def find_processes() -> dict[int, list[str]]:
    """Numbers of processes that are not root's, by user."""
    found: dict[int, list[str]] = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if uid := place.stat().st_uid:
                found.setdefault(uid, []).append(place.name)
        except OSError:
            continue
    return found


def read_environments() -> Iterator[bytes]:
    for numbers in find_processes().values():
        for number in numbers:
            try:
                yield Path("/proc", number, "environ").read_bytes()
            except OSError:
                continue


def read_memory(numbers: list[str]) -> Iterator[bytes]:
    """What these processes may write to; only their own user can read it."""
    for number in numbers:
        try:
            with Path("/proc", number, "mem").open("rb", 0) as memory:
                for line in Path("/proc", number, "maps").read_text().splitlines():
                    first, last = (int(text, 16) for text in line.split()[0].split("-"))
                    if line.split()[1].startswith("rw") and last - first < LARGE:
                        memory.seek(first)
                        yield memory.read(last - first)
        except OSError:
            continue


def look_into_memory(needles: list[bytes]) -> set[int]:
    """Which needles are there; a child of each user looks into the memory of their processes."""
    found: set[int] = set()
    for uid, numbers in find_processes().items():
        here, there = os.pipe()
        if (child := os.fork()) == 0:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(uid, uid, uid)
            os.write(there, bytes(sorted(hit(read_memory(numbers), needles))))
            os._exit(0)
        os.close(there)
        with os.fdopen(here, "rb") as stream:
            found |= set(stream.read())
        os.waitpid(child, 0)
    return found


def hit(texts: Iterator[bytes], needles: list[bytes]) -> set[int]:
    """The places of the needles that are in one of the texts."""
    return {index for text in texts for index, needle in enumerate(needles) if needle in text}


def main() -> None:
    needles = [word[::-1].encode() for word in sys.argv[1:]]
    SAMPLE.write_bytes(needles[0])
    planted = subprocess.Popen(["sleep", "300"], user=65534, group=65534, extra_groups=[], env={"SAMPLE": needles[0].decode()})
    try:
        subprocess.run(["systemd-cat"], input=needles[0] + b"\n", check=True)
        subprocess.run(["journalctl", "--sync"], check=True)
        journal = subprocess.run(["journalctl", f"--since=-{LATELY}s", "-o", "json"], capture_output=True, check=True).stdout
        found = {"files": hit(find_files(), needles), "environments": hit(read_environments(), needles)}
        found |= {"memory": look_into_memory(needles), "journal": hit(iter([journal]), needles)}
    finally:
        planted.kill()
        SAMPLE.unlink()
    sound = all(0 in places for places in found.values())
    print("the sample only" if sound and not any(places - {0} for places in found.values()) else found)


if __name__ == "__main__":
    main()
