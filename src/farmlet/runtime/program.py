"""Another program, run to its end. Standard library only."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence

from farmlet.errors import FarmletError


def run(
    words: Sequence[str],
    where: str = "",
    hint: str = "",
    data: bytes = b"",
    seconds: float | None = 60,
    environment: Mapping[str, str] | None = None,
) -> bytes:
    """Its standard output. Raises FarmletError at `where` (else the program's name) with the end of what it said.

    `data`: its standard input. `environment`: variables besides ours.
    """
    try:
        done = subprocess.run(words, input=data, capture_output=True, timeout=seconds, env=os.environ | dict(environment or {}))
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise FarmletError(where or words[0], str(error), hint) from error
    if done.returncode:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()  # members' words may be of any encoding
        raise FarmletError(where or words[0], said[-300:] or f"ended with {done.returncode}", hint)
    return done.stdout
