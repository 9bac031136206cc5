"""This very host as a node: `connect: local`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from farmlet.engine.nodes.driver import Machine, NodeDriver, call
from farmlet.errors import InputError


class LocalShell:
    """Runs commands here."""

    def run(self, command: Sequence[str], stdin: str | bytes = "", timeout: float = 120) -> str:
        return call(command, "this host", stdin, timeout)

    def argv(self, command: Sequence[str]) -> list[str]:
        return list(command)


class LocalDriver(NodeDriver):
    """The host that runs `farmlet up`; it must be Debian 13 with systemd, like any node."""

    def state(self, machine: Machine) -> str:
        return "running"

    def ensure(self, machine: Machine) -> None:
        release = Path("/etc/os-release").read_text()
        if "VERSION_CODENAME=trixie" not in release:
            raise InputError(f"node {machine.name}", "this host is not Debian 13", "use `connect: container` or `connect: ssh`")
        if Path("/proc/1/comm").read_text().strip() != "systemd":
            raise InputError(
                f"node {machine.name}", "this host does not run systemd", "use `connect: container` or `connect: ssh`"
            )

    def shell(self, machine: Machine) -> LocalShell:
        return LocalShell()

    def address(self, machine: Machine) -> str:
        return "127.0.0.1"

    def host_key(self, machine: Machine) -> str:
        return " ".join(Path("/etc/ssh/ssh_host_ed25519_key.pub").read_text().split()[:2])
