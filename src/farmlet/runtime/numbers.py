"""Numbers of command lines, for `type` of an argument: a time that has passed or never ends is a slip of the hand."""

from __future__ import annotations

import argparse
import math


def number(text: str) -> float:
    """A number from 0 on. Raises ValueError or ArgumentTypeError, which argparse tells."""
    found = float(text)
    if not 0 <= found < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no number from 0 on")
    return found


def whole(text: str) -> int:
    """A whole number from 0 on. Raises as `number`."""
    found = int(text)
    if found < 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0")
    return found
