"""Programs outside, each known by a token of its own."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from secrets import compare_digest

from farmlet.runtime.wsgi import Refused


def identify(header: str, tokens: Mapping[str, str]) -> str:
    """Whose the header Authorization is: `Bearer` or `Token`, or a password (Basic). `tokens`: by name. Raises Refused."""
    kind, _, text = header.partition(" ")
    if kind.lower() == "basic":
        try:
            text = base64.b64decode(text.strip(), validate=True).decode().partition(":")[2]
        except ValueError:
            text = ""
    for name, token in tokens.items():
        if compare_digest(text.strip().encode(errors="replace"), token.encode()):
            return name
    raise Refused("401 Unauthorized", "this needs a token that belongs to a name in the facility file")
