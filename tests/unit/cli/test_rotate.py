"""`farmlet rotate` over fake nodes: what is run where, what is told, and what a node that fails means."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from farmlet.cli import opening
from farmlet.engine.deployment import Deployment
from farmlet.engine.nodes.fake import FakeDriver, FakeShell
from farmlet.errors import CommandError
from farmlet.facility.model import Facility
from farmlet.parts.part import ElementAccess, Part, Role

KEYS = [
    {"kid": "one", "algorithm": "ES256", "made": "x", "state": "signs"},
    {"kid": "two", "algorithm": "ES256", "made": "x", "state": "next", "from": "y"},
]
FAR = ElementAccess("far", "https://far", "https://far", True, "", "dcache", 6 * 3600, "does this")
FORGET = "rm -rf /var/cache/keys"


class Shell(FakeShell):
    """Answers as the identity service's command would; `broken` fails."""

    def __init__(self, broken: bool = False) -> None:
        super().__init__(set())
        self.broken = broken

    def run(self, command: Sequence[str], stdin: str | bytes = "", timeout: float = 120) -> str:
        super().run(command, stdin, timeout)
        if self.broken:
            raise CommandError("192.0.2.1", "rm", 1, ["disk on fire"])
        return json.dumps(KEYS) if "keys" in command else ""


@pytest.fixture
def shells(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Shell]:
    """A facility that is up, on fake nodes; `head` has a role that keeps keys."""
    parts = (
        Part("identity", "", (Role("provider", "control", lambda context: ()),), decides=1),
        Part("work", "", (Role("do", "members", lambda context: (), forget=FORGET),), elements=lambda facility: {"far": FAR}),
    )
    driver, found = FakeDriver(), {"head": Shell(), "service": Shell()}
    driver.nodes.update(found)
    monkeypatch.setattr(opening, "find", lambda: {part.name: part for part in parts})

    def open_(deployment: Deployment) -> None:
        deployment.layout.drivers = dict.fromkeys(deployment.layout.names(), driver)

    monkeypatch.setattr(Deployment, "open", open_)
    path = folder / "facility.yaml"
    path.write_text(path.read_text().replace("container", "fake"))
    (folder / ".farmlet" / "tiny").mkdir(parents=True)
    return found


def words(shell: Shell) -> list[str]:
    return [" ".join(command) for command in shell.commands]


def test_calmly(farmlet: Any, shells: dict[str, Shell]) -> None:
    result = farmlet("rotate", "issuer")
    assert result.code == 0, result.err
    (said,) = words(shells["service"])
    assert said.startswith("runuser -u farmlet-identity") and " keys rotate --next --by " in said
    assert words(shells["head"]) == [], "nobody need forget anything"
    assert "next from y" in result.out and "nothing is left to do" in result.out


def test_in_an_emergency(farmlet: Any, shells: dict[str, Shell]) -> None:
    result = farmlet("rotate", "issuer", "--now", "--json")
    assert result.code == 0, result.err
    found = json.loads(result.out)
    assert " keys rotate --now --by " in words(shells["service"])[0]
    assert words(shells["head"]) == [f"sh -c {FORGET}"]
    assert found["keys"] == KEYS and found["forgot"] == [{"node": "head", "role": "work.do"}] and found["failed"] == []
    assert any("refresh tokens stay good" in line for line in found["left"])
    (far,) = (line for line in found["left"] if line.startswith("storage element far: "))
    assert "up to 6 hours" in far and "unless its administrator does this" in far


def test_a_node_that_cannot_forget_is_told(farmlet: Any, shells: dict[str, Shell]) -> None:
    shells["head"].broken = True
    result = farmlet("rotate", "issuer", "--now")
    assert result.code == 1
    assert "work.do on head did NOT forget" in result.out and "disk on fire" in result.out and "repeat this command" in result.out


def test_without_new_keys_nobody_forgets(farmlet: Any, shells: dict[str, Shell]) -> None:
    shells["service"].broken = True
    result = farmlet("rotate", "issuer", "--now")
    assert result.code == 1 and "disk on fire" in result.err and words(shells["head"]) == []


def test_what_to_rotate_must_be_named(farmlet: Any) -> None:
    assert farmlet("rotate").code == 2
    assert farmlet("rotate", "moon").code == 2


def test_keys_of_an_external_issuer_are_its_own(farmlet: Any, shells: dict[str, Shell], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Facility, "external", property(lambda self: True))
    monkeypatch.setattr(Facility, "issuer", property(lambda self: "https://iam.example.org/"))
    result = farmlet("rotate", "issuer", "--now")
    assert result.code == 2 and "those of https://iam.example.org/" in result.err
    assert not any(words(shell) for shell in shells.values())
