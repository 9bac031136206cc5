"""What an admin asks of the site tests, answered by the program of the part on the control node."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from farmlet.errors import InputError
from farmlet.parts.admin import Running, call
from farmlet.parts.units import SERVICE

COMMAND = ("runuser", "-u", "farmlet-sitetests", "--", f"{SERVICE}/bin/python", "-m", "farmlet.parts.sitetests.command")
MARGIN = 60  # seconds beside the wait for results


def ask(running: Running, words: Sequence[str], wait: float = 0) -> Any:
    """The answer to an action, as `verbs.spell` writes it. Raises InputError or FarmletError."""
    if not running.facility.has("sitetests.scheduler"):
        raise InputError("farmlet sitetest", "no node runs the part sitetests", "add `sitetests` to `runs` of a node")
    return json.loads(call(running, [*COMMAND, *words], "sitetest", wait + MARGIN))
