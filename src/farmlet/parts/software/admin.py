"""What an admin asks of the software images, answered by the programs of the part on the node that builds them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from farmlet.errors import InputError
from farmlet.parts.admin import Running, call
from farmlet.parts.software.unpacked import deploy as unpacked
from farmlet.parts.software.verbs import NAMED, SECONDS
from farmlet.parts.units import NODE

COMMAND = (f"{NODE}/bin/python", "-I", "-m", "farmlet.parts.software.builder")
Found = list[dict[str, Any]]


def ask(running: Running, action: str, name: str = "", sources: Mapping[str, str] | None = None) -> Found:
    """The images as `images.Row`s after an action, those of registries last. `sources`: pip's settings by variable; `bundle` is
    a text (PEM). They go by standard input: an index's address may hold a password. Raises InputError or FarmletError.
    """
    if not running.facility.has("software.build"):
        raise InputError("farmlet images", "no node runs software.build", "add `software.build` to `runs` of a node")
    given = json.dumps(sources or {})
    if action in NAMED:
        refuse(action, name, _call(running, COMMAND, "list", "", given), bool(unpacked.find_file(running.facility)))
        return _call(running, unpacked.COMMAND, action, name, "")
    found = _call(running, COMMAND, action, name, given)
    if action == "list" and unpacked.find_file(running.facility):
        found += _call(running, unpacked.COMMAND, action, "", "")
    return found


def refuse(action: str, name: str, own: Found, wanted: bool) -> None:
    """Say why an image cannot be published or removed by hand. `own`: the facility file's; `wanted`: there is a wish list."""
    where = f"image {name[:120]}"
    for row in own:
        if row["name"] != name:
            continue
        if action == "remove":
            raise InputError(where, "is in the facility file", "take it out there, then `farmlet up`")
        if row["offered"]:
            raise InputError(where, "is offered already", "farmlet images list")
        why = f"was not validated: {row['error']}" if row["error"] else "was never built"
        raise InputError(where, why, f"mend it, then `farmlet images build {name}`: what passes its test is offered")
    if not wanted:
        raise InputError(where, "is none of this facility's, which has no wish list", "`software: {unpacked: wishlist.yaml}`")


def _call(running: Running, command: Sequence[str], action: str, name: str, given: str) -> Found:
    words = [*command, action, *(["--", name] if name else [])]
    node = running.facility.host("software.build").name
    found: Found = json.loads(call(running, words, f"images {action}", SECONDS, node=node, stdin=given))
    return found
