"""`farmlet client` over an identity service that answers from memory."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from farmlet.cli import client
from farmlet.cli.main import main
from farmlet.errors import CommandError

WIKI = {"client_id": "wiki", "name": "The wiki", "of": "admin", "grants": ["authorization_code"], "used": None, "public": False}


class Identity:
    """Answers to the command on the node; `ran` are its words after `client`."""

    def __init__(self) -> None:
        self.facility = SimpleNamespace(controller="service", external=False, issuer="https://iam.example.org")
        self.ran: list[list[str]] = []

    def run(self, name: str, command: list[str], stdin: str, timeout: float) -> str:
        self.ran.append(command[command.index("client") + 1 : command.index("--by")])
        if "nobody" in command:
            raise CommandError(
                "192.0.2.1", "runuser", 2, ["client nobody: no such client", "hint: `farmlet client list` shows them"]
            )
        if "list" in command:
            return json.dumps([WIKI])
        return json.dumps(WIKI | ({"client_secret": "s3cret"} if "set" in command else {}))


@pytest.fixture
def identity(monkeypatch: pytest.MonkeyPatch) -> Identity:
    found = Identity()
    monkeypatch.setattr(client, "open_deployment", lambda args, running: found)
    return found


def test_what_is_given_is_handed_on(identity: Identity, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "--name",
        "The wiki",
        "--grant",
        "code",
        "--redirect-uri",
        "https://w.example.org/back",
        "--no-public",
        "--trusted",
    ]
    assert main(["client", "set", "wiki", *words, "--access-lifetime", "600", "--renew"]) == 0
    told = capsys.readouterr()
    assert "s3cret" in told.out and "not told again" in told.err
    assert identity.ran == [
        ["set", "wiki", "--name=The wiki", "--grant=code", "--redirect-uri=https://w.example.org/back", "--access-lifetime=600",
         "--no-public", "--trusted", "--renew"],
    ]  # fmt: skip
    assert main(["client", "set", "wiki"]) == 0 and identity.ran[-1] == ["set", "wiki"], "what is not given stays"


def test_its_secret_goes_into_a_file(identity: Identity, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "wiki.secret"
    assert main(["client", "set", "wiki", "--secret-file", str(path), "--json"]) == 0
    assert "client_secret" not in json.loads(capsys.readouterr().out)
    assert path.read_text() == "s3cret\n" and path.stat().st_mode & 0o777 == 0o600
    assert main(["client", "set", "wiki", "--secret-file", str(tmp_path / "none" / "x")]) == 2 and len(identity.ran) == 1


@pytest.mark.parametrize(
    ("words", "told"), [(["list"], "wiki    admin"), (["show", "wiki"], "The wiki"), (["remove", "wiki"], "is removed")]
)
def test_words_and_json(identity: Identity, capsys: pytest.CaptureFixture[str], words: list[str], told: str) -> None:
    assert main(["client", *words]) == 0 and told in capsys.readouterr().out
    assert main(["client", *words, "--json"]) == 0 and json.loads(capsys.readouterr().out) in (WIKI, [WIKI])


def test_errors_speak_of_what_was_typed(identity: Identity, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["client", "show", "nobody"]) == 2
    assert capsys.readouterr().err.startswith("farmlet client show: client nobody: no such client\n")


def test_clients_of_an_external_issuer_are_its_own(identity: Identity, capsys: pytest.CaptureFixture[str]) -> None:
    identity.facility.external = True
    assert main(["client", "list"]) == 2
    assert "are kept by https://iam.example.org" in capsys.readouterr().err and identity.ran == []
