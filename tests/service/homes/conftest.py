"""Real file systems for homes: a folder of this machine's, and btrfs on a loop device."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


def run(*words: object) -> str:
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.fixture(scope="session")
def btrfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty btrfs of 400 MB, whose quotas nobody has turned on."""
    if os.geteuid():
        pytest.fail("mounts a file system: run it as root")
    folder = tmp_path_factory.mktemp("btrfs")
    image, mount = folder / "image", folder / "mount"
    with image.open("wb") as stream:
        stream.truncate(400 << 20)
    run("mkfs.btrfs", "-q", image)
    mount.mkdir()
    run("mount", "-o", "loop", image, mount)
    yield mount
    run("umount", mount)
    image.unlink()


@pytest.fixture(params=["plain", "btrfs"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where homes may lie, on each kind of file system."""
    if request.param == "plain":
        return tmp_path
    made: Path = request.getfixturevalue("btrfs") / tmp_path.name
    made.mkdir()
    return made
