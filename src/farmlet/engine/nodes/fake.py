"""A node that exists only in memory: it has what it was given. For tests of plans and of the engine's order of things."""

from __future__ import annotations

import json
from collections.abc import Sequence

from farmlet.engine.nodes.driver import Machine, NodeDriver
from farmlet.errors import InputError


class FakeShell:
    """Answers the probe: every resource differs whose label is not in `present`."""

    def __init__(self, present: set[str]) -> None:
        self.present = present
        self.commands: list[Sequence[str]] = []

    def run(self, command: Sequence[str], stdin: str | bytes = "", timeout: float = 120) -> str:
        self.commands.append(command)
        if command[:2] != ["python3", "-c"]:
            return ""
        specs = json.loads(stdin)["resources"]
        findings = {index: "not there" for index, spec in enumerate(specs) if spec["label"] not in self.present}
        return json.dumps({"findings": findings, "keys": {}})

    def argv(self, command: Sequence[str]) -> list[str]:
        hint = "name a real way to reach it: `connect: container`, `ssh` or `local`"
        raise InputError("a fake node", "exists in memory only, nothing can be done on it", hint)


class FakeDriver(NodeDriver):
    """`connect: fake`: nodes come and go at once."""

    def __init__(self) -> None:
        self.nodes: dict[str, FakeShell] = {}
        self.running: set[str] = set()

    def state(self, machine: Machine) -> str:
        if machine.name not in self.nodes:
            return "absent"
        return "running" if machine.name in self.running else "stopped"

    def ensure(self, machine: Machine) -> None:
        self.nodes.setdefault(machine.name, FakeShell(set()))
        self.running.add(machine.name)

    def shell(self, machine: Machine) -> FakeShell:
        return self.nodes[machine.name]

    def address(self, machine: Machine) -> str:
        return "192.0.2.1"  # RFC 5737: documentation only

    def host_key(self, machine: Machine) -> str:
        return "ssh-ed25519 AAAA"

    def stop(self, machine: Machine) -> None:
        self.running.discard(machine.name)

    def remove(self, machine: Machine) -> None:
        self.stop(machine)
        self.nodes.pop(machine.name, None)
