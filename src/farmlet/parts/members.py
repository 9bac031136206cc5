"""The members of a running facility as its admins handle them, whoever keeps them."""

from __future__ import annotations

import getpass
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from farmlet.parts.admin import Running


class Members(ABC):
    """Every change is audited where members are kept as done by `by`, the account that asks here."""

    def __init__(self, running: Running, by: str = "") -> None:
        self._running = running
        self._by = by or getpass.getuser()

    @abstractmethod
    def _call(self, *words: str) -> str:
        """The answer to one command of `farmlet-identity`, or InputError where that is not ours to do."""

    def list(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self._call("member", "list"))
        return found

    def change(self, verb: str, name: str, *words: str) -> dict[str, Any]:
        """What any verb of one member but `history` answers (see `parts.identity.verbs`), with `words` as `spell` writes them."""
        found: dict[str, Any] = json.loads(self._call("member", verb, name, *words))
        return found

    def history(self, name: str) -> Sequence[dict[str, Any]]:
        """What the audit log says of one member, oldest first: `[{"at", "event", "by", …}]`."""
        found: list[dict[str, Any]] = json.loads(self._call("member", "history", name))
        return found

    def token(self, member: str, scope: str, audience: str, reason: str) -> str:
        words = ("--as", member, "--scope", scope, "--audience", audience, "--reason", reason)
        return self._call("token", *words).strip()
