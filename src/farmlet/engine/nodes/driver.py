"""The seam of a node driver: how a node is made, started, reached and removed. Everything after that is SSH (or local)."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from farmlet.errors import CommandError, FarmletError

READY_SECONDS = 60


@dataclass(frozen=True)
class Machine:
    """What a driver must know to make a node: its names, size, image and the paths that outlive it."""

    name: str
    fqdn: str
    image: str = ""
    cores: int | None = None
    memory: int | None = None  # bytes
    data: tuple[str, ...] = ()  # each on a volume of its own
    shared: tuple[tuple[str, str, str], ...] = ()  # (volume, path, "rw" or "ro")
    quotas: frozenset[str] = frozenset()  # of these paths, those whose folders are kept to sizes
    aliases: tuple[str, ...] = ()  # names of its web services, which lead to it too


class Shell(Protocol):
    """Runs commands as root on one node."""

    def run(self, command: Sequence[str], stdin: str | bytes = "", timeout: float = 120) -> str:
        """Standard output of `command`; FarmletError with the last lines of standard error when it fails."""
        ...

    def argv(self, command: Sequence[str]) -> list[str]:
        """The command line that runs `command` there from here, with this process's standard streams."""
        ...


class NodeDriver(Protocol):
    """One way to have nodes. Each method is safe to repeat. What has a body here is for hosts, which stay as they are."""

    def state(self, machine: Machine) -> str:
        """`absent`, `stopped`, `running`, or `unreachable` for a host that must be there and does not answer."""
        ...

    def differs(self, machine: Machine) -> str:
        """How an existing node differs from what is wanted, in what we can change (size, volumes); "" if it does not."""
        return ""

    def refusal(self, machine: Machine) -> FarmletError | None:
        """Why a node that exists cannot become what is wanted, and what to do then; None when it can, or is not there."""
        return None

    def ensure(self, machine: Machine) -> None:
        """Make, resize and start the node, if need be, and wait until it answers."""
        ...

    def shell(self, machine: Machine) -> Shell: ...

    def address(self, machine: Machine) -> str:
        """The IP address or name under which this host reaches the node."""
        ...

    def host_key(self, machine: Machine) -> str:
        """The node's SSH host key, `type base64`."""
        ...

    def stop(self, machine: Machine) -> None:
        """Stop the node. A host keeps running; its services are its admin's to stop."""
        return

    def remove(self, machine: Machine) -> None:
        """Remove what `ensure` made, the node's own data with it; what nodes share, and a host we did not make, stay."""
        return


@dataclass(frozen=True)
class SecureShell:
    """SSH with the deploy key and a known host key; no agent, no configuration of the person who runs it. `more`: options."""

    host: str
    port: int
    user: str
    key: Path
    known: Path
    more: Mapping[str, str] = field(default_factory=dict)

    def run(self, command: Sequence[str], stdin: str | bytes = "", timeout: float = 120) -> str:
        return call(self.argv(command), self.host, stdin, timeout)

    def argv(self, command: Sequence[str]) -> list[str]:
        options = {
            "BatchMode": "yes",
            "ConnectTimeout": "10",
            "IdentitiesOnly": "yes",
            "LogLevel": "ERROR",
            "ServerAliveInterval": "10",
            "StrictHostKeyChecking": "yes",
            "UserKnownHostsFile": str(self.known),
            **self.more,
        }
        flags = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        target = ["-i", str(self.key), "-p", str(self.port), f"{self.user}@{self.host}"]
        return ["ssh", "-F", "/dev/null", *flags, *target, "--", shlex.join(command)]


def call(command: Sequence[str], where: str, stdin: str | bytes = "", timeout: float = 120) -> str:
    """Run `command` here; its standard output as text. `where` names the node in an error."""
    data = stdin.encode() if isinstance(stdin, str) else stdin
    try:
        done = subprocess.run(command, input=data, capture_output=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        raise FarmletError(
            where, f"no answer within {timeout:.0f} s: {command[-1][:120]}", "is the node up? `farmlet status`"
        ) from None
    except FileNotFoundError:
        raise FarmletError(where, f"`{command[0]}` is not installed here", f"apt-get install {command[0]}") from None
    if done.returncode:
        tail = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()[-8:]
        raise CommandError(where, command[-1][:160], done.returncode, tail)
    return done.stdout.decode(errors="replace")
