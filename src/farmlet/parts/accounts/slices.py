"""Limits of members' sessions where the rights table names some: what a log-in node's agent does with the item `accounts`.

systemd puts all that runs for a member into `user-UID.slice`; its limits for everybody are those of part access. Runs as
root, standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from farmlet.runtime.files import write
from farmlet.runtime.program import run
from farmlet.runtime.rows import FIRST_UID, read_members

NAME = "60-farmlet.conf"


def apply(data: bytes, folder: str = "/etc/systemd/system", reload: bool = True, first_uid: int = FIRST_UID) -> None:
    """Write a drop-in for each active member with limits of their own, and take the others away.

    Acts on sessions that are there too. Raises FarmletError or OSError.
    """
    rows = read_members(data, first_uid)
    accounts = (account for account in rows if account["state"] == "active" and account.get("sessions"))
    wanted = {f"user-{int(account['uid'])}.slice.d": describe(account["sessions"]) for account in accounts}
    root, changed = Path(folder), False
    for name, text in wanted.items():
        path = root / name / NAME
        if not path.exists() or path.read_text() != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path, text.encode())
            changed = True
    for path in root.glob(f"user-[0-9]*.slice.d/{NAME}"):
        if path.parent.name not in wanted:
            path.unlink()
            if not any(path.parent.iterdir()):
                path.parent.rmdir()
            changed = True
    if changed and reload:
        run(["systemctl", "daemon-reload"], "systemctl daemon-reload")


def describe(limits: Mapping[str, int]) -> str:
    """The drop-in (systemd.resource-control(5)) for `limits`: cores, memory in bytes, tasks."""
    forms = {"cores": "CPUQuota={}00%", "memory": "MemoryMax={}", "tasks": "TasksMax={}"}
    lines = [forms[name].format(int(limit)) for name, limit in sorted(limits.items()) if name in forms]
    return "\n".join(["# Written by Farmlet, from the rights table.", "[Slice]", *lines, ""])
