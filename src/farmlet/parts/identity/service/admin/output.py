"""What the command prints: data on stdout, messages on stderr."""

from __future__ import annotations

import json
import sys


def show(data: object, text: str | None = None) -> None:
    """Data, as JSON or, if there is a `text`, in words."""
    print(json.dumps(data, indent=2) if text is None else text)


def say(text: str) -> None:
    """A message."""
    print(text, file=sys.stderr)
