"""How large a notebook is: what its member chose, within what they may. Standard library only.

What was chosen comes by the page or, past it, by the Hub's API: it may be anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

GIB = 1 << 30
LEAST = GIB // 2  # a server and one kernel
CHOICES = ("cores", "memory")


@dataclass(frozen=True)
class Size:
    """`memory` in bytes."""

    cores: int
    memory: int

    @property
    def gib(self) -> float:
        return self.memory / GIB


def limit(usual: Size, cores: int, memory: int) -> Size:
    """The most of a member whose groups give them `cores` and `memory`; where they say nothing (0), the usual."""
    return Size(cores or usual.cores, memory or usual.memory)


def suggest(usual: Size, most: Size) -> Size:
    """What they have who do not choose."""
    return Size(min(usual.cores, most.cores), min(usual.memory, most.memory))


def choose(options: Mapping[str, Any], usual: Size, most: Size) -> Size:
    """The size of one server: `options` may hold `cores` and `memory` (GiB). Raises ValueError, with words for the member."""
    start = suggest(usual, most)
    cores = _number(options.get("cores", start.cores), "cores")
    gib = _number(options.get("memory", start.gib), "memory")
    if not 1 <= cores <= most.cores or cores != int(cores):
        raise ValueError(f"{cores:g} cores: you may have 1 to {most.cores}, whole ones")
    if not min(LEAST, most.memory) <= gib * GIB <= most.memory:
        raise ValueError(f"{gib:g} GiB of memory: you may have {min(LEAST, most.memory) / GIB:g} to {most.gib:g}")
    return Size(int(cores), int(gib * GIB))


def _number(value: Any, what: str) -> float:
    text = value[0] if isinstance(value, list) and len(value) == 1 else value
    try:
        if isinstance(text, bool) or not isinstance(text, str | int | float):
            raise ValueError
        return float(text)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{what}: that is no number") from error
