"""The token of log-in sessions: as the monitor and the unit of a member's sessions see to it."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
from pathlib import Path

import pytest

from farmlet.parts.render import render
from farmlet.parts.tokens import ending, sessions

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
    places = tmp_path / "places"
    run("open", places, root)
    account = {"name": ME.pw_name, "uid": ME.pw_uid, "state": "active"}
    ending.apply(json.dumps([account]).encode(), str(root), str(places))
    assert (places / ME.pw_name / "token").exists()
    ending.apply(json.dumps([account | {"state": "suspended"}]).encode(), str(root), str(places))
    assert not (places / ME.pw_name).exists() and not (root / ME.pw_name).exists()


def test_accounts_of_the_host_have_none(tmp_path: Path, root: Path) -> None:
    text = render("farmlet.parts.tokens", "session.sh", first_uid=60001, places=tmp_path / "p", folder=root, service="farmlet")
    subprocess.run(["sh", "-c", text, "session", "open", str(ME.pw_uid)], check=True)
    assert not (tmp_path / "p").exists()
