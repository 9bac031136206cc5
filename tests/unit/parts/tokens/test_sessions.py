"""The token of log-in sessions: as the monitor and the unit of a member's sessions see to it."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
from pathlib import Path

import pytest

from farmlet.parts.render import render
from farmlet.parts.tokens import deprovisioning, notes, queue, sessions

ME = pwd.getpwuid(os.getuid())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The credential directory, with a token of whoever runs this."""
    folder = tmp_path / "credentials" / ME.pw_name
    folder.mkdir(parents=True)
    (folder / "farmlet.use").write_text("a token")
    return folder.parent


def run(verb: str, places: Path, root: Path) -> None:
    text = render("farmlet.parts.tokens", "session.sh", first_uid=0, places=places, folder=root, service="farmlet")
    subprocess.run(["sh", "-c", text, "session", verb, str(ME.pw_uid)], check=True)


def test_from_the_first_session_to_the_last(tmp_path: Path, root: Path) -> None:
    places, use = tmp_path / "places", root / ME.pw_name / "farmlet.use"
    sessions.refresh(places, root)
    assert not places.exists(), "nobody is logged in"
    run("open", places, root)
    token = places / ME.pw_name / "token"
    assert token.read_text() == "a token" and token.stat().st_mode & 0o777 == 0o400
    mark = root / f"{ME.pw_name}.mark"
    mark.touch()
    os.utime(mark, (0, 0))
    use.write_text("a newer one")
    sessions.refresh(places, root)
    assert token.read_text() == "a newer one" and token.stat().st_mode & 0o777 == 0o400
    assert mark.stat().st_mtime > 0, "who is logged in still needs it"
    use.unlink()
    sessions.refresh(places, root)
    assert not token.exists() and token.parent.is_dir()
    use.write_text("another")
    sessions.refresh(places, root)
    assert token.read_text() == "another"
    mark.unlink()
    run("close", places, root)
    assert not token.parent.exists() and mark.exists()
    sessions.refresh(places, root)
    assert not token.parent.exists()


def test_a_suspended_member_keeps_nothing(tmp_path: Path, root: Path) -> None:
    places, notebooks = tmp_path / "places", tmp_path / "notebooks"
    run("open", places, root)
    run("open", notebooks, root)
    both = [str(places), str(notebooks)]
    account = {"name": ME.pw_name, "uid": ME.pw_uid, "state": "active"}
    deprovisioning.apply(json.dumps([account]).encode(), str(root), both, first_uid=0)
    assert (places / ME.pw_name / "token").exists()
    deprovisioning.apply(json.dumps([account | {"state": "suspended"}]).encode(), str(root), both, first_uid=0)
    assert not (places / ME.pw_name).exists() and not (notebooks / ME.pw_name).exists() and not (root / ME.pw_name).exists()


def look(places: Path) -> str:
    """What a person at a terminal reads."""
    text = render("farmlet.parts.tokens", "greeting.sh", places=places, command="farmlet-credential")
    shell = ["bash", "--norc", "--noprofile", "-i", "-c", text]
    token = str(places / ME.pw_name / "token")
    told = {"BEARER_TOKEN_FILE": token, "SSH_TTY": "/dev/pts/0", "SHLVL": "0", "HOME": "/nonexistent", "PATH": os.environ["PATH"]}
    return subprocess.run(shell, env=told, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL).stdout


def test_who_comes_back_after_a_suspension_is_told_that_the_credential_is_gone(tmp_path: Path, root: Path) -> None:
    places, mine = tmp_path / "places", root / ME.pw_name
    (mine / "farmlet.top").write_text("{}")
    (mine / "other.top").write_text("{}")
    mode = mine.stat().st_mode
    account = {"name": ME.pw_name, "uid": ME.pw_uid, "state": "suspended"}
    for _ in range(2):
        deprovisioning.apply(json.dumps([account]).encode(), str(root), [str(places)], first_uid=0)
        assert [path.name for path in mine.iterdir()] == ["farmlet.refused"] and mine.stat().st_mode == mode
    run("open", places, root)
    words = "when you were no active member); store it anew: farmlet-credential"
    assert words in look(places) and "no token for your sessions" not in look(places)
    sessions.refresh(places, root)
    assert words in look(places)
    assert "taken away on" in queue.find_fault(mine, "farmlet")
    (mine / "farmlet.top").write_text("{}")  # stored anew
    sessions.refresh(places, root)
    assert look(places) == "  storage  no token for your sessions and jobs yet: farmlet-credential\n"
    (mine / "farmlet.top").unlink()
    account["state"] = "removed"
    deprovisioning.apply(json.dumps([account]).encode(), str(root), [str(places)], first_uid=0)
    assert not mine.exists()


def test_odd_words_of_an_issuer_come_to_no_terminal_as_they_are(tmp_path: Path, root: Path) -> None:
    places, top = tmp_path / "places", root / ME.pw_name / "farmlet.top"
    top.write_text("{}")
    notes.wait(top, 'User Zoë "X" \\ \x1b[31m $(id)\nneeds', (ME.pw_uid, ME.pw_gid))
    run("open", places, root)
    before = look(places)
    sessions.refresh(places, root)
    assert (
        before == look(places) == "  storage  no token for your jobs and sessions until then: User Zoë 'X' / [31m $(id) needs\n"
    )


def test_accounts_of_the_host_have_none(tmp_path: Path, root: Path) -> None:
    text = render("farmlet.parts.tokens", "session.sh", first_uid=60001, places=tmp_path / "p", folder=root, service="farmlet")
    subprocess.run(["sh", "-c", text, "session", "open", str(ME.pw_uid)], check=True)
    assert not (tmp_path / "p").exists()
