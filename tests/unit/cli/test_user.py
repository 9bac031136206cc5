"""`farmlet user` over an identity service that answers from memory."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from farmlet.cli import user
from farmlet.cli.main import main, verb_parser
from farmlet.errors import CommandError, InputError
from farmlet.parts.identity.admin import OwnMembers

PROD = {"name": "prod", "kind": "service", "owner": "lab", "state": "active", "expires": "2030-12-31T23:59:59+00:00"}
PROD |= {"groups": ["lab"], "uid": 20001, "sub": "x"}  # type: ignore[dict-item]
SECRET = {"client_id": "service-prod", "client_secret": "s3cret"}
ADA = {"name": "ada", "kind": "person", "owner": None, "state": "active", "expires": None, "groups": ["lab"], "uid": 20000}
LINES = [{"at": 1700000000.0, "event": "group.joined", "by": "ada", "group": "lab"}]
ANSWERS: dict[str, Any] = {
    "add": PROD | SECRET,
    "secret": PROD | SECRET | {"residual": 3600},
    "suspend": ADA | {"state": "suspended", "renew": ["prod"]},
    "list": [ADA, PROD],
    "history": LINES,
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    calls: list[tuple[str, ...]] = []

    def call(self: OwnMembers, *words: str) -> str:
        calls.append(words)
        return json.dumps(ANSWERS.get(words[1], ADA))

    monkeypatch.setattr(OwnMembers, "_call", call)
    deployment = SimpleNamespace(facility=SimpleNamespace(external=False))
    monkeypatch.setattr(user, "open_deployment", lambda args, running: deployment)
    return calls


ADD = ("user", "add", "prod", "--service", "--owner", "lab", "--group", "lab")


def test_a_new_service_member_and_its_secret(asked: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*ADD, "--expires", "2030-12-31", "--scope", "storage.read:/"]) == 0
    told = capsys.readouterr()
    assert "owned by lab, until 2030-12-31" in told.out
    assert "client: service-prod\nsecret: s3cret" in told.out and "not told again" in told.err
    words = ("--service", "--group=lab", "--owner=lab", "--expires=2030-12-31", "--scope=storage.read:/")
    assert asked == [("member", "add", "prod", *words)]


@pytest.mark.parametrize("words", [ADD, ("user", "secret", "prod")])
def test_the_secret_goes_into_a_file(asked: Any, words: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "prod.secret"
    assert main([*words, "--secret-file", str(path)]) == 0
    assert path.read_text() == "s3cret\n" and path.stat().st_mode & 0o777 == 0o600
    assert "s3cret" not in capsys.readouterr().out
    assert main([*words, "--json", "--secret-file", str(path)]) == 0
    assert "client_secret" not in json.loads(capsys.readouterr().out)


def test_a_secret_is_not_made_before_it_can_be_kept(asked: list[Any], tmp_path: Path) -> None:
    assert main([*ADD, "--secret-file", str(tmp_path / "none" / "secret")]) == 2
    assert asked == []


@pytest.mark.parametrize(
    "words",
    [
        ("user", "add", "prod", "--service", "--group", "lab"),
        ("user", "add", "ada", "--owner", "lab", "--group", "lab"),
        ("user", "add", "ada", "--secret-file", "x", "--group", "lab"),
        (*ADD, "--email", "a@example.org"),
    ],
)
def test_what_does_not_go_together(asked: list[Any], words: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert asked == [] and "--" in capsys.readouterr().err


def test_who_may_know_a_secret_is_told(asked: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["user", "suspend", "ada"]) == 0
    told = capsys.readouterr()
    assert "member ada: suspended" in told.out and "farmlet user secret prod" in told.err


def test_lists_and_histories(asked: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["user", "list"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == ["name", "kind", "state", "until", "owner", "uid", "groups"]
    assert rows[2] == ["prod", "service", "active", "2030-12-31", "lab", "20001", "lab"]
    assert main(["user", "history", "ada"]) == 0
    assert "2023-11-14 22:13:20  group.joined  ada  group=lab" in capsys.readouterr().out
    assert main(["user", "history", "ada", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == LINES


def test_groups_ends_and_owners(asked: list[Any]) -> None:
    for words in (["join", "ada", "--group", "lab"], ["extend", "ada", "never"], ["give", "prod", "--owner", "lab"]):
        assert main(["user", *words]) == 0
    assert [call[1:] for call in asked] == [
        ("join", "ada", "--group=lab"),
        ("extend", "ada", "never"),
        ("give", "prod", "--owner=lab"),
    ]


NO_SUCH = CommandError("192.0.2.1", "runuser …", 2, ["member eve: no such member", "hint: `farmlet user list` shows them"])


def test_errors_speak_of_what_was_typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Not of the command on the node, which nobody typed."""

    def run(name: str, command: list[str], stdin: str, timeout: float) -> str:
        raise NO_SUCH

    facility = SimpleNamespace(external=False, controller="service")
    monkeypatch.setattr(user, "open_deployment", lambda args, running: SimpleNamespace(facility=facility, run=run))
    for words in (["show", "eve"], ["suspend", "eve"], ["history", "eve"]):
        assert main(["user", *words]) == 2
        told = capsys.readouterr().err
        assert told.startswith(f"farmlet user {words[0]}: member eve: no such member\n") and "farmlet user list" in told


def test_every_action_is_known() -> None:
    with pytest.raises(InputError, match="promote"):
        verb_parser("user").parse_args(["promote", "ada"])


def test_who_is_missing_is_let_go(asked: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    ran: list[list[str]] = []

    def run(name: str, command: list[str], stdin: str, timeout: float) -> str:
        ran.append(command[3:])
        if "eve" in command:
            raise CommandError("service", "", 2, ["eve: is not missing", "  hint: farmlet check accounts"])
        return '["ada", "bob"]'

    facility = SimpleNamespace(controller="service")
    monkeypatch.setattr(user, "open_deployment", lambda args, running: SimpleNamespace(facility=facility, run=run))
    for words in (["ada", "bob"], ["--all"]):
        assert main(["user", "release", *words]) == 0
        assert capsys.readouterr().out == "let go: ada, bob\n"
    assert ran == [["ada", "bob"], ["--all"]]
    for wrong in ([], ["ada", "--all"], ["eve"]):
        assert main(["user", "release", *wrong]) == 2
    assert "eve: is not missing" in capsys.readouterr().err
