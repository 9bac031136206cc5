"""What an admin asks of the software images, answered by the program of the part on the node that builds them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from farmlet.errors import CommandError, FarmletError, InputError
from farmlet.parts.admin import Running
from farmlet.parts.software.verbs import SECONDS
from farmlet.parts.units import NODE

COMMAND = (f"{NODE}/bin/python", "-I", "-m", "farmlet.parts.software.builder")


def ask(running: Running, action: str, name: str = "", sources: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """The images as `images.Row`s after an action. `sources`: pip's settings by variable; `bundle` is a text (PEM).

    They go by standard input: an index's address may hold a password. Raises InputError or FarmletError.
    """
    if not running.facility.has("software.build"):
        raise InputError("farmlet images", "no node runs software.build", "add `software.build` to `runs` of a node")
    words: Sequence[str] = [*COMMAND, action, *(["--", name] if name else [])]
    node = running.facility.host("software.build").name
    try:
        found: list[dict[str, Any]] = json.loads(running.run(node, words, json.dumps(sources or {}), SECONDS))
    except CommandError as error:
        if error.code not in (1, 2):
            raise
        kind = InputError if error.code == 2 else FarmletError
        what, _, hint = " ".join(line.strip() for line in error.words).partition(" hint: ")
        raise kind(f"farmlet images {action}", what, hint) from error
    return found
