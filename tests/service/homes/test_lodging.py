"""Homes and scratch from the list of accounts, on real file systems: limits follow, removed members' homes are kept."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from farmlet.parts.accounts.homes import homes, keeping
from farmlet.runtime.disk.btrfs import Btrfs, is_btrfs

pytestmark = [pytest.mark.service, pytest.mark.timeout(120)]
SOURCE = Path(__file__).parents[3] / "src"
MIB = 1 << 20


def row(name: str, uid: int, state: str = "active", **more: Any) -> dict[str, Any]:
    return {"name": name, "uid": uid, "gid": uid, "state": state, "login": True, "space": {}, "left": 0} | more


def skeleton(folder: Path) -> str:
    path = folder / "skel"
    path.mkdir(exist_ok=True)
    (path / ".profile").write_text("umask 027\n")
    return str(path)


def apply(folder: Path, *rows: dict[str, Any], days: int = 90) -> None:
    """All that an agent does."""
    data, places = json.dumps(rows).encode(), (str(folder / "home"), str(folder / "scratch"))
    homes.apply(data, *places, "head", skeleton(folder), 20000, flush=False)
    keeping.apply(data, *places, days, 20000, str(folder / "usage"))


def test_limits_follow_the_rights(btrfs: Path) -> None:
    folder = btrfs / "follow"
    folder.mkdir()
    apply(folder, row("ada", 20001, space={"home": 20 * MIB, "scratch": 30 * MIB}), row("bob", 20002))
    quotas, ada = Btrfs(), folder / "home" / "ada"
    assert ada.stat().st_uid == 20001 and (ada / ".profile").stat().st_uid == 20001

    def limits() -> list[int | None]:
        places = (ada, folder / "scratch" / "ada", folder / "home" / "bob")
        return [usage.limit if (usage := quotas.usage(path)) else -1 for path in places]

    assert limits() == [20 * MIB, 30 * MIB, None]
    apply(folder, row("ada", 20001, space={"home": 40 * MIB}), row("bob", 20002, space={"home": 5 * MIB}))
    assert limits() == [40 * MIB, homes.LEAST, 5 * MIB]  # no right to scratch any more: nothing can be added there
    apply(folder, row("ada", 20001), row("bob", 20002, "suspended"))
    assert limits() == [None, homes.LEAST, 5 * MIB]
    keeping._due.clear()
    apply(folder, row("ada", 20001, space={"home": 40 * MIB, "scratch": 30 * MIB}))
    assert "ada scratch " in (folder / "usage").read_text() and " of 40M used" in (folder / "usage").read_text()


def test_removed_back_within_the_grace_and_after_it(folder: Path) -> None:
    ada = row("ada", 20001, space={"home": 20 * MIB})
    apply(folder, ada)
    home, archive = folder / "home" / "ada", folder / "home" / ".archive"
    (home / "thesis").write_text("all of it")
    gone = ada | {"state": "removed", "login": False, "space": {}, "left": int(time.time()) - 10 * 86400}
    apply(folder, gone)
    assert (home / "thesis").exists()
    apply(folder, ada)
    assert (home / "thesis").read_text() == "all of it"

    apply(folder, gone, days=7)
    assert not home.exists() and (archive / "ada" / "thesis").stat().st_size == 9
    assert (archive.stat().st_uid, archive.stat().st_mode & 0o777) == (os.geteuid(), 0o700)
    apply(folder, gone, row("eve", 20009), days=7)  # a name of somebody new gets none of it
    apply(folder, ada | {"space": {"home": 30 * MIB}}, days=7)
    assert (home / "thesis").read_text() == "all of it" and home.stat().st_uid == 20001
    assert not list(archive.iterdir())
    if is_btrfs(folder):
        usage = Btrfs().usage(home)
        assert usage is not None and usage.limit == 30 * MIB


def test_an_archived_home_is_given_to_no_other_number(folder: Path) -> None:
    apply(folder, row("ada", 20001))
    apply(folder, row("ada", 20001, "removed", left=1))
    with pytest.raises(Exception, match="belongs to uid 20001"):
        apply(folder, row("ada", 20002))
    assert (folder / "home" / ".archive" / "ada").stat().st_uid == 20001 and not (folder / "home" / "ada").exists()


PROGRAM = """
import json, sys
from farmlet.parts.accounts.homes import homes, keeping
data, folder = sys.stdin.buffer.read(), sys.argv[1]
places = (f"{folder}/home", f"{folder}/scratch")
print("begun", flush=True)
homes.apply(data, *places, "head", f"{folder}/skel", 20000, flush=False)
keeping.apply(data, *places, 1, 20000, f"{folder}/usage")
"""


def test_killed_at_any_point_and_repeated_the_end_is_the_same(folder: Path) -> None:
    space = {"home": 5 * MIB, "scratch": 5 * MIB}
    skeleton(folder)
    old = [row(f"old{number}", 20000 + number, space=space) for number in range(40)]
    apply(folder, *old)
    for one in old:
        (folder / "home" / one["name"] / "thesis").write_text(one["name"])
    rows = [one | {"state": "removed", "left": 1} for one in old]
    rows += [row(f"new{number}", 21000 + number, space=space) for number in range(40)]
    data = json.dumps(rows).encode()
    ended = set()
    for _ in range(8):
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(folder)],
            env={"PYTHONPATH": str(SOURCE)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(data)
        process.stdin.close()
        process.stdout.readline()
        time.sleep(random.uniform(0, 0.03))
        process.send_signal(signal.SIGKILL)
        ended.add(process.wait())
    assert -signal.SIGKILL in ended
    apply(folder, *rows, days=1)
    home = folder / "home"
    assert {path.name for path in home.iterdir()} == {".archive", ".nodes", *(f"new{number}" for number in range(40))}
    for number in range(40):
        assert (home / ".archive" / f"old{number}" / "thesis").read_text() == f"old{number}"
        for path in (home / f"new{number}", home / f"new{number}" / ".profile", folder / "scratch" / f"new{number}"):
            assert path.stat().st_uid == 21000 + number
        assert not is_btrfs(folder) or Btrfs().usage(home / f"new{number}").limit == 5 * MIB  # type: ignore[union-attr]
