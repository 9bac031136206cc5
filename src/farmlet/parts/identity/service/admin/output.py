"""What the command prints: data on stdout, messages on stderr."""

from __future__ import annotations

import json
import sys


def show(data: object, as_json: bool, text: str) -> None:
    """Data, as JSON or in words."""
    print(json.dumps(data, indent=2) if as_json else text)


def say(text: str) -> None:
    """A message."""
    print(text, file=sys.stderr)
