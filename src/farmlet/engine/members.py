"""Members, as the admin of a facility handles them: by the identity service's command on the control node, over SSH."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from farmlet.engine.deployment import Deployment
from farmlet.engine.nodes.driver import CommandError
from farmlet.errors import FarmletError, InputError

COMMAND = (
    "runuser", "-u", "farmlet-identity", "--",
    "/opt/farmlet/service/bin/python", "-m", "farmlet.parts.identity.service", "--config", "/etc/farmlet/identity.json",
)  # fmt: skip


class Members:
    """The members of one running facility. Every change is audited there with the name of who asked."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment

    def _call(self, *words: str) -> str:
        try:
            return self._deployment.run(self._deployment.facility.controller, [*COMMAND, *words])
        except CommandError as error:
            # the service's own words (`where: what`) are what the admin needs; the SSH command around them is not
            if error.code not in (1, 2):
                raise
            kind = InputError if error.code == 2 else FarmletError
            what, _, hint = " ".join(line.strip() for line in error.words).partition(" hint: ")
            raise kind(f"farmlet {words[0]}", what or error.what, hint) from error

    def list(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self._call("member", "list", "--json"))
        return found

    def add(self, name: str, groups: Sequence[str], title: str = "", email: str = "") -> dict[str, Any]:
        """Register and approve a member; `join` is where they set their password, once."""
        words = [word for group in groups for word in ("--group", group)]
        words += ["--name", title] if title else []
        words += ["--email", email] if email else []
        found: dict[str, Any] = json.loads(self._call("member", "add", name, *words, "--json"))
        return found

    def change(self, verb: str, name: str) -> dict[str, Any]:
        """approve, suspend, resume, remove or show one member."""
        found: dict[str, Any] = json.loads(self._call("member", verb, name, "--json"))
        return found

    def token(self, member: str, scope: str, audience: str, reason: str, by: str) -> str:
        words = ("--as", member, "--scope", scope, "--audience", audience, "--reason", reason, "--by", by)
        return self._call("token", *words).strip()
