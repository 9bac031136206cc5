"""Whether the credential monitor keeps the tokens of jobs fresh. Standard library only."""

from __future__ import annotations

import time
from pathlib import Path

from farmlet.runtime.checks import Failed

STALE = 180.0  # seconds without a finished pass: three times its longest pause


def check_credmon(folder: str) -> str:
    """The monitor runs and has gone through all credentials lately."""
    root = Path(folder)
    try:
        pid = int((root / "pid").read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        age = time.time() - (root / "CREDMON_COMPLETE").stat().st_mtime
    except (OSError, ValueError) as error:
        raise Failed(f"the credential monitor does not run: {error}") from error
    if "credmon" not in command:
        raise Failed(f"process {pid} is not the credential monitor: {command.strip()}")
    if age > STALE:
        raise Failed(f"process {pid} has finished no pass for {age:.0f} s")
    held, ready, refused = (len(list(root.glob(f"*/*.{kind}"))) for kind in ("top", "use", "refused"))
    return f"process {pid}: {held} credentials, {ready} tokens ready, {refused} refused by their issuer"
