"""Members, as the admin of a facility handles them: by the identity service's command on the control node, over SSH."""

from __future__ import annotations

import getpass
import json
from collections.abc import Sequence
from typing import Any

from farmlet.engine.deployment import Deployment
from farmlet.engine.identity import ask


class Members:
    """The members of one running facility. Every change is audited there as done by `by`, the account that asks here."""

    def __init__(self, deployment: Deployment, by: str = "") -> None:
        self._deployment = deployment
        self._by = by or getpass.getuser()

    def _call(self, *words: str) -> str:
        return ask(self._deployment, *words, "--by", self._by)

    def list(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self._call("member", "list", "--json"))
        return found

    def add(self, name: str, groups: Sequence[str], title: str = "", email: str = "", expires: str = "") -> dict[str, Any]:
        """Register and approve a member; `join` is where they set their password, once."""
        words = [*_options("--group", *groups), *_options("--name", title), *_options("--email", email)]
        return self._change("add", name, *words, *_options("--expires", expires))

    def add_service(
        self,
        name: str,
        groups: Sequence[str],
        owner: str,
        title: str = "",
        expires: str = "",
        scopes: Sequence[str] = (),
        audiences: Sequence[str] = (),
    ) -> dict[str, Any]:
        """Register a service member; `client_id` and `client_secret` are told only here."""
        words = [*_options("--group", *groups), *_options("--owner", owner), *_options("--name", title)]
        words += [*_options("--expires", expires), *_options("--scope", *scopes), *_options("--audience", *audiences)]
        return self._change("add", name, "--service", *words)

    def change(self, verb: str, name: str, *words: str) -> dict[str, Any]:
        """approve, suspend, resume, remove, show, history, secret, extend, join, leave or give one member."""
        return self._change(verb, name, *words)

    def _change(self, verb: str, name: str, *words: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._call("member", verb, name, *words, "--json"))
        return found

    def history(self, name: str) -> Sequence[dict[str, Any]]:
        """What the audit log says of one member, oldest first: `[{"at", "event", "by", …}]`."""
        found: list[dict[str, Any]] = json.loads(self._call("member", "history", name, "--json"))
        return found

    def token(self, member: str, scope: str, audience: str, reason: str) -> str:
        words = ("--as", member, "--scope", scope, "--audience", audience, "--reason", reason)
        return self._call("token", *words).strip()


def _options(name: str, *values: str) -> Sequence[str]:
    # in one word, so that a value that begins with a dash is not taken for an option
    return [f"{name}={value}" for value in values if value]
