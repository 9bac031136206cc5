"""Which accounting groups each member's jobs may run in: what the agent of an access point does with the item `accounts`.

HTCondor's own feature AssignAccountingGroup reads the map: a job runs in the first group of its owner unless it names another
of theirs, and who is not in the map submits nothing. Runs as root, standard library only.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from farmlet.errors import FarmletError
from farmlet.runtime.files import write
from farmlet.runtime.rows import read

RELOAD = ("systemctl", "try-reload-or-restart", "condor.service")
SECONDS = 30


def apply(data: bytes, path: str) -> None:
    """Write the map (a line `* NAME GROUP,…` for each active member with a batch right) and have it read. Raises FarmletError."""
    rows = (account for account in read(data) if account["state"] == "active" and account.get("batch"))
    text = "".join(f"* {row['name']} {','.join(row['batch'])}\n" for row in rows)
    target = Path(path)
    if target.exists() and target.read_text() == text:
        return
    write(target, text.encode())
    done = subprocess.run(RELOAD, capture_output=True, text=True, timeout=SECONDS, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise FarmletError(" ".join(RELOAD), done.stderr.strip()[-300:])
