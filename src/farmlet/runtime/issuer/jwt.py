"""What stands in a JWT (RFC 7519), unverified: to show or to compare it. Standard library only."""

from __future__ import annotations

import base64
import json
from typing import Any


def peek(token: str, part: int = 1) -> dict[str, Any]:
    """The claims, or with `part` 0 the header. Raises ValueError for what is no JWT."""
    try:
        text = token.split(".")[part]
        found = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (IndexError, RecursionError) as error:
        raise ValueError("not a JWT") from error
    if not isinstance(found, dict):
        raise ValueError("not a JWT")
    return found
