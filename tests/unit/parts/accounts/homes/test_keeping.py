"""What is told of homes, and when one of them goes to the archive."""

from __future__ import annotations

import errno
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from farmlet.errors import FarmletError
from farmlet.parts.accounts.checks import check_homes
from farmlet.parts.accounts.homes import keeping
from farmlet.runtime.checks import Failed
from farmlet.runtime.disk.quotas import Usage

DAY = 86400


def row(name: str, state: str = "active", left: float = 0) -> dict[str, Any]:
    return {"name": name, "uid": os.getuid(), "gid": os.getgid(), "state": state, "login": True, "space": {}, "left": int(left)}


def apply(place: Path, *rows: dict[str, Any], days: int = 90) -> None:
    homes, scratch = str(place / "home"), str(place / "scratch")
    keeping.apply(json.dumps(rows).encode(), homes, scratch, days, first_uid=0, first_gid=0, usage=str(place / "usage"))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name in ("alice", "bob", "carol"):
        (tmp_path / "home" / name).mkdir(parents=True)
        (tmp_path / "home" / name / "notes").write_text(name)
    (tmp_path / "scratch" / "bob").mkdir(parents=True)
    return tmp_path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_home_is_archived_after_the_grace_and_not_before(place: Path) -> None:
    gone = row("bob", "removed", time.time() - 89 * DAY)
    apply(place, row("alice"), gone, row("carol", "suspended"))
    assert names(place / "home") == ["alice", "bob", "carol"]
    for _ in range(2):
        apply(place, row("alice"), gone, row("carol", "suspended"), days=88)
    assert names(place / "home") == [".archive", "alice", "carol"]
    assert (place / "home" / ".archive").stat().st_mode & 0o777 == 0o700
    assert (place / "home" / ".archive" / "bob" / "notes").read_text() == "bob"
    assert names(place / "scratch") == ["bob"]  # never archived


def test_a_member_of_whom_no_time_is_known_keeps_the_home(place: Path) -> None:
    apply(place, row("bob", "removed", 0), days=0)
    assert "bob" in names(place / "home")


def test_nothing_in_the_archive_is_ever_replaced(place: Path) -> None:
    (place / "home" / ".archive" / "bob").mkdir(parents=True)
    with pytest.raises(FarmletError, match="is there already"):
        apply(place, row("bob", "removed", 1), row("carol", "removed", 1))
    assert names(place / "home") == [".archive", "alice", "bob"] and names(place / "home" / ".archive") == ["bob", "carol"]


def test_no_name_leads_out_of_the_homes(place: Path) -> None:
    (place / "outside").mkdir()
    with pytest.raises(FarmletError, match="no member's account"):
        apply(place, row("../outside", "removed", 1))
    assert (place / "outside").is_dir()


def test_what_is_used_is_told_of_who_logs_in(place: Path) -> None:
    apply(place, row("alice"), row("bob"), row("carol", "suspended"), row("../usage"))
    lines = (place / "usage").read_text().splitlines()
    assert [line.split()[:2] for line in lines] == [["alice", "home"], ["bob", "home"], ["bob", "scratch"]]
    assert all(line.endswith(", shared by all") for line in lines)
    assert (place / "usage").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("fault", [errno.EACCES, errno.ENOTCONN, errno.EIO])
def test_what_a_member_mounts_over_their_home_is_nothing_to_the_others(
    place: Path, monkeypatch: pytest.MonkeyPatch, fault: int
) -> None:
    """A FUSE file system lets not even root in, and one whose program has ended answers nobody."""
    real = Path.stat

    def stat(self: Path, **how: bool) -> os.stat_result:
        if self == place / "home" / "alice":
            raise OSError(fault, os.strerror(fault))
        return real(self, **how)

    monkeypatch.setattr(Path, "stat", stat)
    apply(place, row("alice"), row("bob"), row("carol"))
    lines = (place / "usage").read_text().splitlines()
    assert lines[0] == f"alice home {keeping.HIDDEN}" and [line.split()[0] for line in lines[1:]] == ["bob", "carol", "bob"]
    assert check_homes(str(place / "home"), "home", usage=str(place / "usage")).endswith("where something is mounted over them")


@pytest.mark.parametrize(
    ("usage", "words"),
    [
        (None, "1G free"),
        (Usage(3 << 29, None), "1.5G used, 1G free"),
        (Usage(3 << 29, 20 << 30), "1.5G of 20G used, 7 %"),
        (Usage(18 << 30, 20 << 30), "18G of 20G used, 90 %: almost full"),
        (Usage(20 << 30, 20 << 30), "20G of 20G used, 100 %: full"),
        (Usage(1 << 30, 1 << 20), "1G of 1M used, 102400 %: full"),
    ],
)
def test_usage_in_words(usage: Usage | None, words: str) -> None:
    assert keeping.describe(usage, "1G free") == words


def test_the_check_tells_of_limits_archive_and_a_full_disk(place: Path) -> None:
    apply(place, row("alice"), row("bob", "removed", 1), row("carol"))
    told = check_homes(str(place / "home"), "home", usage=str(place / "usage"))
    assert told.endswith("0 of 2 members have limits (plain folders, no limits); 1 in the archive")
    (place / "usage").write_text("alice home 1G of 20G used, 5 %\nalice scratch x\ncarol home 1G free, shared by all\n")
    assert "; 1 of 2 members have limits (" in check_homes(str(place / "home"), "home", usage=str(place / "usage"))
    assert check_homes(str(place / "none"), "scratch") == "nobody has a scratch folder yet"
    with pytest.raises(Failed, match="it is full, for everybody"):
        check_homes(str(place / "home"), "home", percent=100)
