"""The identity service's own command on the control node, as the engine's verbs call it: over SSH, as that service's user."""

from __future__ import annotations

from farmlet.engine.deployment import Deployment
from farmlet.engine.nodes.driver import CommandError
from farmlet.errors import FarmletError, InputError
from farmlet.parts import units

COMMAND = (
    "runuser", "-u", "farmlet-identity", "--",
    f"{units.SERVICE}/bin/python", "-m", "farmlet.parts.identity.service", "--config", "/etc/farmlet/identity.json",
)  # fmt: skip


def ask(deployment: Deployment, *words: str) -> str:
    """What `farmlet-identity` answers to `words`. Raises InputError or FarmletError in its own words."""
    try:
        return deployment.run(deployment.facility.controller, [*COMMAND, *words])
    except CommandError as error:
        # the service's own words (`where: what`) are what the admin needs; the SSH command around them is not
        if error.code not in (1, 2):
            raise
        kind = InputError if error.code == 2 else FarmletError
        what, _, hint = " ".join(line.strip() for line in error.words).partition(" hint: ")
        raise kind(f"farmlet {words[0]}", what or error.what, hint) from error
