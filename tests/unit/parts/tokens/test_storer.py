"""What condor_submit says to the program that stores credentials, and what that says where it cannot ask."""

from __future__ import annotations

import json
import os
import pwd
import stat
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from farmlet.errors import InputError
from farmlet.parts.tokens import storer
from farmlet.parts.tokens.storer import Config, Request

CONFIG = Config("farmlet", "https://127.0.0.1:9", "batch", "storage.read:/")


def test_words_of_condor_submit() -> None:
    found = Request.parse("farmlet&handle=in&scopes=storage.read:/a,storage.read:/b&audience=https://se:8443")
    assert found.name == "farmlet_in"
    assert found.options == ("-S", "storage.read:/a,storage.read:/b", "-A", "https://se:8443")
    assert Request.parse("farmlet") == Request("farmlet") and Request.parse("farmlet&handle=&scopes=") == Request("farmlet")
    for word, what in (("farmlet&scopes=storage.read:/a", "needs a name of its own"), ("../x", "no name"), ("", "no name")):
        with pytest.raises(InputError, match=what):
            Request.parse(word)


@pytest.fixture
def credd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A condor_store_cred that notes what it was told, and exits as the file `code` says."""
    program = tmp_path / "condor_store_cred"
    program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/words; cat >> {tmp_path}/given; exit $(cat {tmp_path}/code)\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    (tmp_path / "code").write_text("1")
    monkeypatch.setattr(storer, "STORE", str(program))
    return tmp_path


def test_without_a_terminal_nobody_is_asked(credd: Path) -> None:
    with pytest.raises(InputError, match="no terminal") as caught:
        storer.ensure(Request("farmlet"), CONFIG, wait=False)
    assert "farmlet-credential" in caught.value.hint
    assert (credd / "words").read_text() == "query-oauth -s farmlet\n"


def test_the_last_line_of_condor_submit_is_explained_before_it(credd: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = credd / "config"
    config.write_text(json.dumps(asdict(CONFIG)))
    for words, explained in ((["farmlet"], True), ([], False)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(storer, "CONFIG", config)
            assert storer.main(words) == 1
        said = capsys.readouterr().err
        assert "hint: once, on a terminal: farmlet-credential\n" in said and ("BAILING OUT" in said) is explained


def test_what_became_of_the_one_there_was_is_told_at_the_next_submission(credd: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = credd / "places" / pwd.getpwuid(os.getuid()).pw_name
    mine.mkdir(parents=True)
    (mine / "notice").write_text("what you stored is worth nothing any more")
    config = replace(CONFIG, places=str(credd / "places"))
    with pytest.raises(InputError, match="no terminal"):
        storer.ensure(Request("farmlet"), config, wait=False)
    assert "farmlet: what you stored is worth nothing any more\n" in capsys.readouterr().err
    (credd / "code").write_text("0")  # it is there, and waits for its member
    storer.ensure(Request("farmlet"), config, wait=False)
    assert "worth nothing" in capsys.readouterr().err


def test_other_services_are_the_members_own_affair(credd: Path) -> None:
    with pytest.raises(InputError, match="not of this facility"):
        storer.ensure(Request("dropbox"), CONFIG, wait=False)
    (credd / "code").write_text("0")
    storer.ensure(Request("dropbox"), CONFIG, wait=False)


def test_the_secret_goes_by_standard_input_only(credd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storer, "PATIENCE", 0.0)
    (credd / "code").write_text("0")
    storer.keep(CONFIG, "its-secret")
    assert "its-secret" in (credd / "given").read_text() and "its-secret" not in (credd / "words").read_text()
