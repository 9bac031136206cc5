"""The disk of a sandbox, really made and mounted."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from farmlet.engine.sandbox.disk import Disk
from farmlet.errors import FarmletError
from farmlet.runtime.disk.btrfs import Btrfs
from farmlet.runtime.disk.filesystem import open_quotas

pytestmark = pytest.mark.service
MIB = 1 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    made = Disk(tmp_path)
    yield made
    made.detach()


def test_what_lies_there_stays_and_has_limits(disk: Disk) -> None:
    disk.make()
    quotas = open_quotas(disk.path)
    assert isinstance(quotas, Btrfs)
    quotas.create(disk.path / "ada")
    assert quotas.limit(disk.path / "ada", 20 * MIB)
    (disk.path / "ada" / "file").write_text("kept")
    for _ in range(2):
        disk.detach()
    assert not disk.path.is_mount() and not list(disk.path.iterdir())
    for _ in range(2):
        disk.attach()
    assert (disk.path / "ada" / "file").read_text() == "kept"
    assert disk.path.stat().st_mode & 0o777 == 0o755 and disk.image.stat().st_mode & 0o777 == 0o600


def test_it_takes_no_more_of_the_host_than_is_written(disk: Disk) -> None:
    disk.make()
    assert disk.image.stat().st_size > 20 * disk.image.stat().st_blocks * 512


def test_one_left_by_a_killed_up_is_made_anew(disk: Disk) -> None:
    disk.make()
    (disk.path / "half").touch()
    disk.make()
    assert not (disk.path / "half").exists()


def test_a_host_without_the_programs_is_told_and_nothing_is_left(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(FarmletError, match=r"mkfs\.btrfs` is not installed"):
        disk.make()
    assert not disk.image.exists()


def test_a_mount_that_fails_is_told_in_its_words(disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "mount").write_text("#!/bin/sh\necho 'mount: failed to set up loop device' >&2; exit 32\n")
    (tmp_path / "bin" / "mount").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    with pytest.raises(FarmletError, match="failed to set up loop device"):
        disk.make()
    assert not disk.image.exists() and not disk.path.is_mount()


def test_one_in_use_stays_mounted_and_is_told(disk: Disk) -> None:
    disk.make()
    with (disk.path / "open").open("w"), pytest.raises(FarmletError, match="busy"):
        disk.detach()
    assert disk.path.is_mount() and shutil.disk_usage(disk.path).free
