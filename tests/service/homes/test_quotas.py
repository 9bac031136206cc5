"""The seam to where homes lie, over both implementations, and what only the one with limits can do."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from farmlet.errors import FarmletError
from farmlet.parts.accounts.homes.homes import open_place
from farmlet.runtime.disk.btrfs import Btrfs
from farmlet.runtime.disk.filesystem import open_quotas
from farmlet.runtime.disk.quotas import Plain, Quotas

pytestmark = pytest.mark.service
MIB = 1 << 20


@pytest.fixture
def quotas(folder: Path) -> Quotas:
    return open_place(str(folder), 0, 0).quotas


def fill(path: Path, size: int) -> int:
    """Write until `size` bytes are there or no more are taken; returns how many are, on disk."""
    try:
        with path.open("wb", buffering=0) as stream:
            for _ in range(size // MIB):
                stream.write(os.urandom(MIB))
                os.fsync(stream.fileno())
    except OSError as error:  # at the file's name already, or at its contents
        assert error.errno in (errno.EDQUOT, errno.ENOSPC), error  # XFS says the latter of projects
    return path.stat().st_size if path.exists() else 0


def measure(quotas: Quotas, path: Path, least: int) -> int:
    """What is used, once the file system has counted at least that."""
    end = time.monotonic() + 20
    while True:
        os.sync()
        usage = quotas.usage(path)
        assert usage is not None
        if usage.used >= least:
            return usage.used
        assert time.monotonic() < end, usage
        time.sleep(0.2)


def test_a_folder_is_made_moved_and_back(quotas: Quotas, folder: Path) -> None:
    path, archive = folder / "ada", folder / "put-away"
    quotas.create(path)
    assert path.stat().st_mode & 0o7777 == 0o700 and path.stat().st_uid == os.geteuid()
    (path / "notes").write_text("mine")
    archive.mkdir()
    quotas.move(path, archive / "ada")
    assert not path.exists() and (archive / "ada" / "notes").read_text() == "mine"
    quotas.create(path)
    with pytest.raises(FarmletError, match="is there already"):
        quotas.move(archive / "ada", path)
    path.rmdir()
    quotas.move(archive / "ada", path)
    assert (path / "notes").read_text() == "mine" and not list(archive.iterdir())
    with pytest.raises(FileNotFoundError):
        quotas.move(archive / "ada", folder / "other")


def test_no_limit_is_what_every_file_system_can_do(quotas: Quotas, folder: Path) -> None:
    quotas.create(folder / "ada")
    assert quotas.limit(folder / "ada", None)
    assert fill(folder / "ada" / "data", 3 * MIB) == 3 * MIB
    assert quotas.limit(folder / "ada", 50 * MIB) == (type(quotas) is not Plain)


def test_limits_follow_up_and_down_and_harm_nothing(limited: Path) -> None:
    quotas, path = open_quotas(limited), limited / "limited"
    quotas.create(path)
    quotas.create(limited / "neighbour")
    assert quotas.limit(path, 20 * MIB)
    usage = quotas.usage(path)
    assert usage is not None and usage.limit == 20 * MIB
    kept = fill(path / "data", 40 * MIB)
    assert 15 * MIB <= kept <= 20 * MIB
    assert measure(quotas, path, kept) <= 20 * MIB
    assert fill(limited / "neighbour" / "data", 30 * MIB) == 30 * MIB  # others are not hurt

    assert quotas.limit(path, 60 * MIB)  # raised: at once
    assert fill(path / "more", 20 * MIB) == 20 * MIB

    before = (path / "data").read_bytes()
    assert quotas.limit(path, 10 * MIB)  # below what is there: nothing goes, nothing comes, all can be read
    assert fill(path / "third", 8 * MIB) < 8 * MIB
    assert (path / "data").read_bytes() == before
    os.sync()
    assert quotas.limit(path, 80 * MIB) and quotas.limit(path, 10 * MIB)  # the full folder does not keep from raising it
    for name in ("data", "more", "third"):
        (path / name).unlink(missing_ok=True)
    os.sync()
    assert fill(path / "after", 4 * MIB) == 4 * MIB

    assert quotas.limit(path, None)
    assert quotas.usage(path) is not None and quotas.usage(path).limit is None  # type: ignore[union-attr]
    assert fill(path / "free", 30 * MIB) == 30 * MIB


def test_the_limit_goes_with_the_folder(limited: Path) -> None:
    quotas, path = open_quotas(limited), limited / "moved"
    quotas.create(path)
    quotas.limit(path, 30 * MIB)
    (limited / "elsewhere").mkdir()
    quotas.move(path, limited / "elsewhere" / "moved")
    usage = quotas.usage(limited / "elsewhere" / "moved")
    assert usage is not None and usage.limit == 30 * MIB


def test_a_plain_folder_on_btrfs_has_no_limit_and_says_so(btrfs: Path) -> None:
    (btrfs / "old").mkdir()
    quotas = Btrfs()
    assert not quotas.limit(btrfs / "old", 20 * MIB) and quotas.limit(btrfs / "old", None)
    assert quotas.usage(btrfs / "old") is None
