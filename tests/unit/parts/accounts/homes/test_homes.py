"""Homes: whole or not there, never somebody else's."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from farmlet.errors import FarmletError
from farmlet.parts.accounts.checks import check_homes
from farmlet.parts.accounts.homes import homes
from farmlet.runtime.checks import Failed


def account(name: str, **more: Any) -> dict[str, Any]:
    # our own numbers: the test needs no root
    values = {"name": name, "uid": os.getuid(), "gid": os.getgid(), "state": "active", "login": True, "space": {}, "left": 0}
    return values | more


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "skel").mkdir()
    (tmp_path / "skel" / ".profile").write_text("umask 027\n")
    (tmp_path / "skel" / "link").symlink_to("/etc/shadow")
    return tmp_path


def apply(place: Path, *accounts: dict[str, Any], first_uid: int = 0, node: str = "head") -> None:
    data = json.dumps(accounts).encode()
    homes.apply(data, str(place / "home"), str(place / "scratch"), node, str(place / "skel"), first_uid, first_uid, flush=False)


def names(folder: Path) -> list[str]:
    """Whose folders are there."""
    return sorted(path.name for path in folder.iterdir() if path.name != homes.NODES)


def test_active_members_who_may_log_in_get_a_home(place: Path) -> None:
    apply(place, account("alice"), account("bob", state="suspended"), account("carol", login=False))
    assert names(place / "home") == ["alice"]
    home = place / "home" / "alice"
    assert home.stat().st_mode & 0o777 == 0o700
    assert (home / ".profile").read_text() == "umask 027\n"
    assert (home / "link").is_symlink()
    assert not (place / "scratch").exists()


def test_scratch_is_for_those_with_a_right_to_it(place: Path) -> None:
    apply(place, account("alice", space={"scratch": 1 << 30}), account("bob", space={"home": 1 << 30}))
    assert names(place / "scratch") == ["alice"]
    assert (place / "scratch" / "alice").stat().st_mode & 0o777 == 0o700
    assert not list((place / "scratch" / "alice").iterdir())
    apply(place, account("alice"), account("bob"))
    assert (place / "scratch" / "alice").is_dir()


def test_what_a_killed_agent_left_is_cleared_away(place: Path) -> None:
    left = place / "home" / f".new-{os.uname().nodename}"
    (left / "alice").mkdir(parents=True)
    (left / "alice" / "half").write_text("x")
    apply(place, account("alice"))
    assert sorted(path.name for path in (place / "home" / "alice").iterdir()) == [".profile", "link"]
    assert names(place / "home") == ["alice"]


def test_a_home_that_is_there_is_left_alone(place: Path) -> None:
    apply(place, account("alice"))
    (place / "home" / "alice" / ".profile").write_text("mine\n")
    (place / "home" / "alice").chmod(0o755)
    apply(place, account("alice"))
    apply(place, account("alice", state="removed"))
    assert (place / "home" / "alice" / ".profile").read_text() == "mine\n"
    assert (place / "home" / "alice").stat().st_mode & 0o777 == 0o755


def test_someone_elses_home_is_told_and_the_others_are_made(place: Path) -> None:
    (place / "home").mkdir()
    (place / "home" / "alice").symlink_to("/etc")
    (place / "home" / "bob").mkdir()
    stranger = account("bob", uid=os.getuid() + 1)
    with pytest.raises(FarmletError, match=r"bob.* belongs to uid"):
        apply(place, stranger, account("carol"))
    assert (place / "home" / "carol").is_dir()


@pytest.mark.parametrize("name", ["../etc", "a/b", "", ".", "Root"])
def test_a_name_that_is_a_path_is_refused(place: Path, name: str) -> None:
    with pytest.raises(FarmletError, match="no member's account"):
        apply(place, account(name))


def test_system_numbers_are_refused(place: Path) -> None:
    with pytest.raises(FarmletError, match="no member's account"):
        apply(place, account("alice", uid=0, gid=0), first_uid=20000)
    assert not (place / "home" / "alice").exists()


def test_nodes_that_share_homes_make_each_once(place: Path) -> None:
    apply(place, account("alice", space={"scratch": 1 << 30}), node="head")
    (place / "home" / "alice" / "thesis").write_text("mine")
    apply(place, account("alice", space={"scratch": 1 << 30}), node="second")
    assert (place / "home" / "alice" / "thesis").read_text() == "mine"
    for kind in ("home", "scratch"):
        assert check_homes(str(place / kind), kind, ["head", "second"]).endswith("; the same on head, second")


def test_another_node_that_was_first_is_no_fault(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the home had not been there yet when this node looked."""
    apply(place, account("alice"))
    (place / "home" / "alice" / "thesis").write_text("mine")
    monkeypatch.setattr(homes, "is_theirs", lambda *_: False)
    apply(place, account("alice"))
    assert (place / "home" / "alice" / "thesis").read_text() == "mine" and names(place / "home") == ["alice"]


def test_homes_that_are_not_the_same_on_all_nodes_are_told(place: Path) -> None:
    apply(place, account("alice"), node="head")
    with pytest.raises(Failed, match=r"second and this node each have a .*home of their own: mount one file server"):
        check_homes(str(place / "home"), "home", ["head", "second"])
