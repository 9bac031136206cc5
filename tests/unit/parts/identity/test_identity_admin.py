"""What an admin is told when the identity service says no, and when it cannot be asked."""

from __future__ import annotations

import argparse
from types import SimpleNamespace
from typing import Any

import pytest

from farmlet.errors import CommandError, FarmletError, InputError
from farmlet.parts.identity import verbs
from farmlet.parts.identity.admin import COMMAND, OwnMembers


def members(error: FarmletError) -> OwnMembers:
    def run(*rest: Any, **more: Any) -> str:
        raise error

    return OwnMembers(SimpleNamespace(facility=SimpleNamespace(controller="service"), run=run))  # type: ignore[arg-type]


def failure(code: int) -> CommandError:
    return CommandError("192.0.2.1", "runuser …", code, ["member ada: is there already", "hint: another name"])


@pytest.mark.parametrize(("code", "kind"), [(2, InputError), (1, FarmletError)])
def test_the_services_own_words(code: int, kind: type[FarmletError]) -> None:
    with pytest.raises(FarmletError) as caught:
        members(failure(code)).change("add", "ada", "--group=lab")
    assert type(caught.value) is kind
    assert (caught.value.what, caught.value.hint) == ("member ada: is there already", "another name")


@pytest.mark.parametrize("error", [failure(255), FarmletError("192.0.2.1", "no answer within 120 s")])
def test_a_node_that_does_not_answer_is_nobodys_input(error: FarmletError) -> None:
    with pytest.raises(FarmletError) as caught:
        members(error).list()
    assert caught.value is error and caught.value.exit_code == 1


def test_every_change_says_who_asked_and_a_value_is_never_an_option() -> None:
    calls: list[list[str]] = []

    def run(node: str, command: list[str], stdin: str = "", timeout: float = 0) -> str:
        calls.append(command[len(COMMAND) :])
        return "{}"

    deployment = SimpleNamespace(facility=SimpleNamespace(controller="service"), run=run)
    asked = OwnMembers(deployment, by="ada")  # type: ignore[arg-type]
    parser = argparse.ArgumentParser()
    verbs.describe(parser, "add")
    given = vars(
        parser.parse_args(
            ["prod", "--service", "--group", "lab", "--owner=lab", "--title=--pending", "--scope", "storage.read:/"]
        )
    )
    asked.change("add", "prod", *verbs.spell("add", given))
    asked.change("extend", "prod", "2030-01-01")
    words = "member add prod --service --group=lab --owner=lab --title=--pending --scope=storage.read:/ --by ada"
    assert calls == [words.split(), ["member", "extend", "prod", "2030-01-01", "--by", "ada"]]
    assert OwnMembers(deployment)._by  # type: ignore[arg-type]
