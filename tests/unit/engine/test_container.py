"""What a node in a container is asked by way of Docker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from farmlet.engine.nodes import container
from farmlet.engine.nodes.container import ContainerDriver
from farmlet.engine.nodes.driver import Machine
from farmlet.errors import FarmletError

KEY = b"ssh-ed25519 AAAA root@head\n"
HEAD = Machine("head", "head.af.test", "image")


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> ContainerDriver:
    monkeypatch.setattr(container.time, "sleep", lambda seconds: None)
    return ContainerDriver(None, "af", "network", {"head": "192.0.2.10"}, Path("key"))


class Says:
    """A container whose answers to commands are these, in turn."""

    def __init__(self, *answers: tuple[int, bytes]) -> None:
        self.left: Iterator[tuple[int, bytes]] = iter(answers)

    def exec_run(self, command: list[str]) -> Any:
        return next(self.left)


def test_a_key_that_docker_loses_on_its_way_is_asked_for_again(driver: ContainerDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "_find", lambda machine: Says((0, b""), (0, b""), (0, KEY)))
    assert driver.host_key(HEAD) == "ssh-ed25519 AAAA"


@pytest.mark.parametrize("answers", [[(1, b"cat: no such file\n")], [(0, b"")] * container.ATTEMPTS, [(0, b"nonsense")]])
def test_a_node_without_a_key_is_told(
    driver: ContainerDriver, monkeypatch: pytest.MonkeyPatch, answers: list[tuple[int, bytes]]
) -> None:
    said = Says(*answers)
    monkeypatch.setattr(driver, "_find", lambda machine: said)
    with pytest.raises(FarmletError, match="shows no host key"):
        driver.host_key(HEAD)
    assert not list(said.left)
