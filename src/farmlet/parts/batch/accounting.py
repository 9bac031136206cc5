"""Which accounting groups each member's jobs may run in: what the agent of an access point does with the item `accounts`.

HTCondor's own feature AssignAccountingGroup reads the map: a job runs in the first group of its owner unless it names another
of theirs, and who is not in the map submits nothing. Runs as root, standard library only.
"""

from __future__ import annotations

from pathlib import Path

from farmlet.runtime.files import write
from farmlet.runtime.program import run
from farmlet.runtime.rows import read

RELOAD = ("systemctl", "try-reload-or-restart", "condor.service")


def apply(data: bytes, path: str) -> None:
    """Write the map (a line `* NAME GROUP,…` for each active member with a batch right) and have it read. Raises FarmletError."""
    rows = (account for account in read(data) if account["state"] == "active" and account.get("batch"))
    text = "".join(f"* {row['name']} {','.join(row['batch'])}\n" for row in rows)
    target = Path(path)
    if target.exists() and target.read_text() == text:
        return
    write(target, text.encode())
    run(RELOAD, " ".join(RELOAD))
