"""Members whom an external issuer keeps, as the admin sees them."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from farmlet.cli.opening import open_members
from farmlet.errors import FarmletError, InputError
from farmlet.parts.accounts.admin import ExternalMembers
from farmlet.parts.members import Members

ISSUER = "https://iam.example.org/"
ROW = {"name": "grace", "sub": "1", "username": "Grace", "state": "active", "uid": 20000, "gid": 20000, "groups": ["lab"]}


def members(at: float, rows: Sequence[dict[str, Any]] = (ROW,), log: str = "") -> Members:
    files = {"members.json": json.dumps({"at": at, "issuer": ISSUER, "members": list(rows)}) if at else "", "audit.log": log}

    def run(node: str, command: Sequence[str]) -> str:
        assert node == "service"
        return next(text for name, text in files.items() if name in command[-1])

    facility = SimpleNamespace(controller="service", external=True, issuer=ISSUER)
    return open_members(SimpleNamespace(facility=facility, run=run))  # type: ignore[arg-type]


def test_list_and_show_are_what_was_read_last(capsys: pytest.CaptureFixture[str]) -> None:
    found = members(time.time())
    assert isinstance(found, ExternalMembers)
    assert found.list() == [ROW]
    assert found.change("show", "grace") == ROW
    assert capsys.readouterr().err == ""
    with pytest.raises(InputError, match="no such member"):
        found.change("show", "alan")


@pytest.mark.parametrize(("at", "told"), [(1.0, "was not read for"), (0.0, "was not read yet")])
def test_what_is_old_says_so(at: float, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    members(at).list()
    assert told in capsys.readouterr().err


def test_history_is_the_log_of_what_was_seen() -> None:
    lines = [{"event": "member.added", "member": "grace", "hash": "x"}, {"event": "member.added", "member": "alan"}]
    log = "".join(json.dumps(line) + "\n" for line in lines)
    assert json.loads(members(time.time(), log=log)._call("member", "history", "grace")) == [{"event": "member.added"}]


@pytest.mark.parametrize("verb", ["approve", "suspend", "resume", "remove"])
def test_changes_are_up_to_the_issuer(verb: str) -> None:
    with pytest.raises(InputError, match=f"farmlet user {verb}") as caught:
        members(time.time()).change(verb, "grace")
    assert ISSUER in caught.value.what and ISSUER in caught.value.hint


def test_so_are_registration_and_tokens() -> None:
    found = members(time.time())
    with pytest.raises(InputError, match="farmlet user add"):
        found.change("add", "alan", "--group=lab")
    with pytest.raises(InputError, match="farmlet token"):
        found.token("grace", "storage.read:/", "se", "why")


def test_a_node_that_does_not_answer_is_told() -> None:
    def run(*rest: Any) -> str:
        raise FarmletError("192.0.2.1", "no answer")

    facility = SimpleNamespace(controller="service", external=True, issuer=ISSUER)
    with pytest.raises(FarmletError, match="no answer"):
        ExternalMembers(SimpleNamespace(facility=facility, run=run)).list()  # type: ignore[arg-type]
