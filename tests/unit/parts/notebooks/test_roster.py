"""Who may have a notebook: written by the agent, read by the Hub."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from farmlet.errors import FarmletError
from farmlet.parts.notebooks import roster
from farmlet.parts.notebooks.roster import Member, Roster

# Docker's command line, with one container for each file in a folder
DOCKER = """#!/bin/sh
cd {folder}
case $1 in
ps) for name in *; do [ ! -e "$name" ] || echo "id-$name $name"; done ;;
rm) rm "${{3#id-}}" ;;
esac
"""


def row(name: str, uid: int, **more: Any) -> dict[str, Any]:
    usual = {"sub": f"sub-{uid}", "gid": uid, "home": f"/home/{name}", "groups": [], "state": "active", "login": True}
    return {"name": name, "uid": uid, **usual, "notebooks": {"cores": 2, "memory": 1 << 32}, **more}


@pytest.fixture
def containers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a file for each member whose notebook runs."""
    programs, folder = tmp_path / "bin", tmp_path / "containers"
    programs.mkdir()
    folder.mkdir()
    (programs / "docker").write_text(DOCKER.format(folder=folder))
    (programs / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setitem(roster.SERVERS, "docker", folder)
    roster.end.cache_clear()
    return folder


def apply(path: Path, *rows: dict[str, Any]) -> None:
    roster.apply(json.dumps(rows).encode(), str(path), first_uid=20000)


def test_only_active_members_with_the_right_are_in(tmp_path: Path, containers: Path) -> None:
    path = tmp_path / "roster.json"
    others = [
        row("bob", 20001, state="suspended"),
        row("carol", 20002, notebooks={}),
        row("dan", 20003, login=False),
        row("root", 0),
    ]
    old = {key: value for key, value in row("eve", 20004).items() if key != "notebooks"}  # of a daemon of before
    apply(path, row("alice", 20000), *others, old)
    known = Roster(str(path))
    assert known.find("alice") == Member("sub-20000", "alice", 20000, 20000, "/home/alice", 2, 1 << 32)
    assert [name for name in ("bob", "carol", "dan", "root", "eve") if known.find(name)] == []
    assert known.identify("sub-20000") == known.find("alice") and known.identify("sub-20001") is None
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_change_holds_at_the_next_question(tmp_path: Path, containers: Path) -> None:
    path = tmp_path / "roster.json"
    known = Roster(str(path))
    assert known.find("alice") is None  # nobody was told yet
    apply(path, row("alice", 20000))
    before = path.stat()
    apply(path, row("alice", 20000))
    assert path.stat().st_ino == before.st_ino  # nothing new, nothing written
    assert known.find("alice")
    apply(path, row("alice", 20000, notebooks={"cores": 8}))
    found = known.find("alice")
    assert found and (found.cores, found.memory) == (8, 0)
    apply(path, row("alice", 20000, administer=True))
    assert (found := known.find("alice")) and found.administer
    apply(path, row("alice", 20000))
    assert (found := known.find("alice")) and not found.administer
    apply(path, row("alice", 20000, state="suspended"))
    assert known.find("alice") is None


def test_how_long_the_membership_was_not_read(tmp_path: Path, containers: Path) -> None:
    path, heard = tmp_path / "roster.json", tmp_path / "heard"
    now = 1_000_000.0
    known = Roster(str(path), str(heard), lambda: now)
    assert known.measure_silence() == now, "nobody was told yet"
    apply(path, row("alice", 20000))
    os.utime(path, (now - 7, now - 7))
    assert known.measure_silence() == 7
    heard.write_text("999970\n")
    assert known.measure_silence() == 30
    now += 3600
    assert known.measure_silence() == 3630 and known.find("alice"), "who has a session keeps it"
    heard.write_text("1003600")
    assert known.measure_silence() == 0


def test_servers_of_others_end(tmp_path: Path, containers: Path) -> None:
    for name in ("alice", "bob", "gone"):
        (containers / name).touch()
    apply(tmp_path / "roster.json", row("alice", 20000), row("bob", 20001, state="suspended"))
    assert {path.name for path in containers.iterdir()} == {"alice"}


def test_docker_is_asked_again_when_a_container_came_or_a_member_went(tmp_path: Path, containers: Path) -> None:
    path, asked = tmp_path / "roster.json", tmp_path / "asked"
    program = tmp_path / "bin" / "docker"
    program.write_text(program.read_text().replace("case", f"echo $1 >> {asked}\ncase", 1))

    def count() -> int:
        if not (containers / "new").exists():
            os.utime(containers, (1, 1))
        apply(path, row("alice", 20000))
        return len(asked.read_text().splitlines())

    assert [count(), count()] == [1, 1]
    (containers / "new").touch()
    assert count() == 3, "it is asked, and told to remove it"
    assert not (containers / "new").exists()
    before = count()
    apply(path, row("alice", 20000, state="suspended"))
    assert len(asked.read_text().splitlines()) == before + 1


def test_a_docker_that_does_not_answer_is_told_and_the_roster_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    roster.end.cache_clear()
    with pytest.raises(FarmletError, match="docker"):
        apply(tmp_path / "roster.json", row("alice", 20000))
    assert Roster(str(tmp_path / "roster.json")).find("alice")
