"""A wish for an image of a registry, as the list has it. Standard library only: nodes read it too."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Wish:
    """An image of a registry, and the `line` of the list that asks for it. `plain`: it is spoken to without TLS."""

    line: int
    registry: str
    repository: str
    tag: str = ""
    digest: str = ""
    plain: bool = False

    @property
    def name(self) -> str:
        """Where it is shown, below the area; and what people call it by."""
        return f"{self.registry}/{self.repository}" + (f":{self.tag}" if self.tag else f"@{self.digest}")


@dataclass(frozen=True)
class Fault:
    """A line that is no image, and why. `text` can be shown."""

    line: int
    text: str
    why: str


def show(item: Any) -> str:
    """At most 100 characters of it, none of which moves a terminal's cursor."""
    return "".join(one if one.isprintable() else "?" for one in str(item)[:100])
