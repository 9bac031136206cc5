"""What an admin is told when the identity service says no, and when it cannot be asked."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from farmlet.engine.identity import COMMAND
from farmlet.engine.members import Members
from farmlet.engine.nodes.driver import CommandError
from farmlet.errors import FarmletError, InputError


def members(error: FarmletError) -> Members:
    def run(*rest: Any) -> str:
        raise error

    return Members(SimpleNamespace(facility=SimpleNamespace(controller="service"), run=run))  # type: ignore[arg-type]


def failure(code: int) -> CommandError:
    return CommandError("192.0.2.1", "runuser …", code, ["member ada: is there already", "hint: another name"])


@pytest.mark.parametrize(("code", "kind"), [(2, InputError), (1, FarmletError)])
def test_the_services_own_words(code: int, kind: type[FarmletError]) -> None:
    with pytest.raises(FarmletError) as caught:
        members(failure(code)).add("ada", ["lab"])
    assert type(caught.value) is kind
    assert (caught.value.what, caught.value.hint) == ("member ada: is there already", "another name")


@pytest.mark.parametrize("error", [failure(255), FarmletError("192.0.2.1", "no answer within 120 s")])
def test_a_node_that_does_not_answer_is_nobodys_input(error: FarmletError) -> None:
    with pytest.raises(FarmletError) as caught:
        members(error).list()
    assert caught.value is error and caught.value.exit_code == 1


def test_every_change_says_who_asked_and_a_value_is_never_an_option() -> None:
    calls: list[list[str]] = []

    def run(node: str, command: list[str]) -> str:
        calls.append(command[len(COMMAND) :])
        return "{}"

    deployment = SimpleNamespace(facility=SimpleNamespace(controller="service"), run=run)
    asked = Members(deployment, by="ada")  # type: ignore[arg-type]
    asked.add_service("prod", ["lab"], "lab", title="--pending", scopes=["storage.read:/"])
    asked.change("extend", "prod", "2030-01-01")
    words = "member add prod --service --group=lab --owner=lab --name=--pending --scope=storage.read:/ --json --by ada"
    assert calls == [words.split(), ["member", "extend", "prod", "2030-01-01", "--json", "--by", "ada"]]
    assert Members(deployment)._by  # type: ignore[arg-type]
