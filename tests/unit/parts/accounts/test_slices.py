"""Limits of the rights table become drop-ins of systemd, and go with the right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from farmlet.parts.accounts import slices


def apply(folder: Path, *rows: dict[str, Any]) -> dict[str, str]:
    slices.apply(json.dumps(rows).encode(), str(folder), reload=False)
    return {path.parent.name: path.read_text() for path in folder.glob("*/*")}


def row(uid: int, state: str = "active", **limits: int) -> dict[str, Any]:
    return {"name": f"user{uid}", "uid": uid, "state": state, "sessions": limits}


def test_limits_come_change_and_go(tmp_path: Path) -> None:
    found = apply(tmp_path, row(20001, cores=2, memory=1 << 30, tasks=100), row(20002), row(20003, "suspended", cores=1))
    assert set(found) == {"user-20001.slice.d"}
    lines = found["user-20001.slice.d"].splitlines()
    assert lines[1:] == ["[Slice]", "CPUQuota=200%", "MemoryMax=1073741824", "TasksMax=100"]
    assert "TasksMax=7" in apply(tmp_path, row(20001, tasks=7))["user-20001.slice.d"]
    (tmp_path / "user-20002.slice.d").mkdir()
    (tmp_path / "user-20002.slice.d" / "by-hand.conf").write_text("[Slice]\n")
    assert set(apply(tmp_path, row(20001))) == {"user-20002.slice.d"}
    assert not (tmp_path / "user-20001.slice.d").exists()
