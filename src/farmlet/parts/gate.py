"""Whether new drones may go to a site: a file a site, written by who tests the sites, read by who orders drones.

JSON {"ok", "since": seconds since 1970, "reason", …}. Its time of change says that the writer lives: a gate that nobody has
touched for VALID seconds counts no more. A site without a gate that counts is open.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from farmlet.runtime import files

VALID = 120.0  # seconds
CHANGED = "changed"  # a file beside the gates, touched when one has opened or closed


@dataclass(frozen=True)
class Gate:
    """`since`: when it was opened or closed, seconds since 1970. `by_hand`: an admin closed it, which is no fault. `tests`: by
    name [code, seconds since 1970, text, its score if it has one].
    """

    ok: bool
    since: float
    reason: str = ""
    by_hand: bool = False
    tests: dict[str, list[Any]] = field(default_factory=dict)


def find(folder: Path, site: str) -> Path:
    return folder / f"{site}.json"


def load(folder: Path, site: str) -> Gate | None:
    """The gate as it was last written, however old; None when there is none, or not a whole one."""
    try:
        found = json.loads(find(folder, site).read_text())
        return Gate(bool(found["ok"]), float(found["since"]), str(found["reason"]), bool(found["by_hand"]), dict(found["tests"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def is_open(folder: Path, site: str) -> bool:
    """Whether drones may be ordered at the site."""
    gate = load(folder, site)
    if gate is None or gate.ok:
        return True
    try:
        return time.time() - find(folder, site).stat().st_mtime > VALID
    except OSError:
        return True


def save(folder: Path, site: str, gate: Gate) -> None:
    """Raises OSError."""
    files.write(find(folder, site), json.dumps(asdict(gate)).encode())


def touch(folder: Path, site: str) -> None:
    """Say that the gate still counts. Raises OSError."""
    os.utime(find(folder, site))
