"""What parts' verbs for admins work with: a running facility, and what its programs on nodes answer to root's commands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from farmlet.errors import CommandError, FarmletError, InputError

if TYPE_CHECKING:
    from farmlet.facility.model import Facility


class Running(Protocol):
    """A facility that is up."""

    @property
    def facility(self) -> Facility: ...

    def run(self, name: str, command: Sequence[str], stdin: str = "", timeout: float = 120) -> str:
        """Standard output of a root command on one node."""
        ...


def call(running: Running, command: Sequence[str], verb: str, timeout: float = 120, *, node: str = "", stdin: str = "") -> str:
    """What a program of ours on a `node`, the control node by default, says. Raises InputError or FarmletError in its words."""
    try:
        return running.run(node or running.facility.controller, command, stdin, timeout)
    except CommandError as error:
        # the program's own words (`where: what`) are what the admin needs; the SSH command around them is not
        if error.code not in (1, 2):
            raise
        kind = InputError if error.code == 2 else FarmletError
        what, _, hint = " ".join(line.strip() for line in error.words).partition(" hint: ")
        raise kind(f"farmlet {verb}", what or error.what, hint) from error
