"""A run of the tests removes what a killed one left, and nothing of one that lives."""

from __future__ import annotations

import fcntl
import tempfile
from pathlib import Path

import pytest

import once


def test_a_run_is_dead_when_nobody_holds_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    run = tmp_path / f"{once.PREFIX}abc"
    state = run / "test" / ".farmlet"
    assert once.is_of_a_dead_run(state)  # it tidied up, or was never there
    run.mkdir()
    with (run / once.ALIVE).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert not once.is_of_a_dead_run(state)
    assert once.is_of_a_dead_run(state)


@pytest.mark.parametrize("path", ["/", "/home/admin/lab/.farmlet", f"/home/admin/{once.PREFIX}abc/.farmlet"])
def test_what_no_run_made_is_nobodys_to_remove(path: str) -> None:
    assert not once.is_of_a_dead_run(Path(path))


def test_this_run_lives() -> None:
    assert not once.is_of_a_dead_run(once.folder() / "test")


def test_what_is_done_alone_waits_for_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(once.VARIABLE, str(tmp_path))
    with once.alone("up"), (tmp_path / "up.lock").open("w") as lock, pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with (tmp_path / "up.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
