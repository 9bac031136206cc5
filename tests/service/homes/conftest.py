"""Real file systems for homes: a folder of this machine's, and btrfs on a loop device."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

# mount points with limits, in a machine that has them (see test_kernel.py); else what this kernel can do
GIVEN = os.environ.get("FARMLET_ROOMS", "")
LIMITED = GIVEN.split(":") if GIVEN else ["btrfs"]


def run(*words: object) -> str:
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.fixture(scope="session")
def btrfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty btrfs of 1 GB, whose quotas nobody has turned on."""
    if os.geteuid():
        pytest.fail("mounts a file system: run it as root")
    folder = tmp_path_factory.mktemp("btrfs")
    image, mount = folder / "image", folder / "mount"
    with image.open("wb") as stream:
        stream.truncate(1 << 30)
    run("mkfs.btrfs", "-q", image)
    mount.mkdir()
    run("mount", "-o", "loop", image, mount)
    yield mount
    run("umount", mount)
    image.unlink()


@pytest.fixture(params=["plain", *LIMITED])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where homes may lie, on each kind of file system."""
    return tmp_path if request.param == "plain" else _make(request, tmp_path)


@pytest.fixture(params=LIMITED)
def limited(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The same, where there are limits."""
    return _make(request, tmp_path)


def _make(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    there: Path = Path(request.param) if GIVEN else request.getfixturevalue(request.param)
    made = there / tmp_path.name
    made.mkdir()
    return made
