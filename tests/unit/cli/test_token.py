"""`farmlet token` says what the token lacks of what was asked for."""

from __future__ import annotations

import base64
import json
from types import SimpleNamespace

import pytest

from farmlet.cli import token
from farmlet.cli.main import main
from farmlet.parts.identity.admin import OwnMembers

CLAIMS = base64.urlsafe_b64encode(json.dumps({"scope": "storage.read:/ storage.modify:/users/ada"}).encode()).decode().rstrip("=")
TOKEN = f"x.{CLAIMS}.y"
ASK = ("token", "--as", "ada", "--audience", "https://se.example.org", "--reason", "lost", "--scope")


@pytest.fixture(autouse=True)
def mint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OwnMembers, "_call", lambda self, *words: f"{TOKEN}\n")
    deployment = SimpleNamespace(facility=SimpleNamespace(external=False))
    monkeypatch.setattr(token, "open_deployment", lambda args, running: deployment)


def test_what_is_left_out_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*ASK, "storage.read:/ storage.modify:/"]) == 0
    told = capsys.readouterr()
    assert told.out == f"{TOKEN}\n"
    assert "ada may not have all of storage.modify:/;" in told.err and "farmlet explain ada" in told.err
    assert main([*ASK, "storage.read:/ storage.modify:/", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["access_token"], found["left_out"]) == (TOKEN, ["storage.modify:/"])
    assert found["scope"] == "storage.read:/ storage.modify:/users/ada"


def test_nothing_is_said_of_a_token_that_has_it_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*ASK, "storage.read:/"]) == 0
    assert "may not have" not in capsys.readouterr().err
