"""Nodes that exist already: hosts reached by SSH, with the deploy key in root's authorized_keys."""

from __future__ import annotations

import subprocess
from pathlib import Path

from farmlet.engine.nodes.driver import Machine, NodeDriver, SecureShell, call
from farmlet.errors import CommandError, FarmletError, InputError


class SshDriver(NodeDriver):
    """`connect: ssh`. `address`, `port`, `user` and the host's key come from the facility file."""

    def __init__(self, address: str, port: int, user: str, key: Path, known: Path, host_key: str | None) -> None:
        self._shell = SecureShell(address, port, user, key, known)
        self._host_key = host_key

    def state(self, machine: Machine) -> str:
        try:
            self._shell.run(["true"], timeout=20)
        except FarmletError:
            return "unreachable"
        return "running"

    def ensure(self, machine: Machine) -> None:
        """Say what is missing before anything is changed: no answer, wrong key, not root, not Debian 13."""
        try:
            facts = self._shell.run(["sh", "-c", "id -u; . /etc/os-release; echo $ID $VERSION_ID; cat /proc/1/comm"], timeout=30)
        except FarmletError as error:
            public = self._shell.key.with_suffix(".pub")
            hint = f"put {public} into /root/.ssh/authorized_keys of {self._shell.host}, then repeat"
            why = error.words[-1] if isinstance(error, CommandError) and error.words else error.what
            raise InputError(f"node {machine.name}", f"cannot log in by SSH: {why}", hint) from error
        user, system, first = [*facts.split("\n"), "", "", ""][:3]
        if user != "0":
            raise InputError(f"node {machine.name}", f"user {self._shell.user} is not root", "set `user: root` for this node")
        if system != "debian 13":
            raise InputError(
                f"node {machine.name}", f"runs {system or 'an unknown system'}, not Debian 13", "install Debian 13 on it"
            )
        if first != "systemd":
            raise InputError(f"node {machine.name}", f"process 1 is {first}, not systemd", "boot it with systemd")
        self._shell.run(
            ["sh", "-c", "command -v python3 >/dev/null || (apt-get update -q && apt-get install -qy python3)"], timeout=300
        )

    def shell(self, machine: Machine) -> SecureShell:
        return self._shell

    def address(self, machine: Machine) -> str:
        return self._shell.host

    def host_key(self, machine: Machine) -> str:
        """The key of the facility file; without one, the key the host shows now is taken, once (trust on first use)."""
        if self._host_key:
            return self._host_key
        known = self._shell.known
        mark = f"[{self._shell.host}]:{self._shell.port}" if self._shell.port != 22 else self._shell.host
        for line in known.read_text().splitlines() if known.exists() else []:
            if line.split(" ", 1)[0] == mark:
                return line.split(" ", 1)[1]
        command = ["ssh-keyscan", "-T", "10", "-t", "ed25519", "-p", str(self._shell.port), self._shell.host]
        try:
            lines = [line for line in call(command, machine.name, timeout=30).splitlines() if not line.startswith("#")]
        except (FarmletError, subprocess.SubprocessError) as error:
            raise InputError(f"node {machine.name}", f"{self._shell.host} does not answer by SSH: {error}") from error
        if not lines:
            raise InputError(f"node {machine.name}", f"no SSH server answers at {self._shell.host} port {self._shell.port}")
        return lines[0].split(" ", 1)[1]
