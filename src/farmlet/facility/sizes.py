"""Sizes as people write them. Standard library only."""

from __future__ import annotations

import re

SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([KMGT])(?:iB)?")
UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def parse(text: str) -> int:
    """Bytes of a size such as `512M`, `6G`, `1.5T` or `6GiB`. Units are powers of 1024, as for Docker and systemd.

    A unit is required: `6` would be six bytes, which nobody means. Raises ValueError.
    """
    match = SIZE.fullmatch(text.strip())
    if not match:
        raise ValueError(f"{text!r} is not a size")
    return int(float(match[1]) * UNITS[match[2]])


def show(size: int) -> str:
    """A number of bytes as `parse` reads it, with at most one decimal: `20G`, `1.5T`; `0K` for less than 52 bytes."""
    unit = next((unit for unit in reversed(UNITS) if size >= UNITS[unit]), "K")
    return f"{size / UNITS[unit]:.1f}".removesuffix(".0") + unit
