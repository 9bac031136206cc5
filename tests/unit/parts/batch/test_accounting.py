"""Members' accounting groups and the groups' parts of the pool, out of one table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from farmlet.facility.rights import GroupRights, Table
from farmlet.parts.batch import accounting

TABLE = Table(
    {
        "lab": GroupRights(batch_share=1.0),
        "lab/production": GroupRights(batch_share=10.0),
        "lab/muon-team": GroupRights(batch_share=1.0),
        "guests": GroupRights(),
    }
)


def test_the_highest_share_comes_first_and_parents_count() -> None:
    assert list(TABLE.shares(["lab/production"])) == ["lab/production", "lab"]
    assert list(TABLE.shares(["lab/muon-team", "guests"])) == ["lab", "lab/muon-team"]
    assert TABLE.shares(["guests", "unknown"]) == {}


def test_the_map_holds_active_members_with_a_batch_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reloads = tmp_path / "reloads"
    monkeypatch.setattr(accounting, "RELOAD", ("sh", "-c", f"echo >> {reloads}"))
    rows = [
        {"name": "ada", "state": "active", "batch": ["lab_production", "lab"]},
        {"name": "bob", "state": "suspended", "batch": ["lab"]},
        {"name": "eve", "state": "active", "batch": []},
    ]
    path = tmp_path / "map"
    for _ in range(2):
        accounting.apply(json.dumps(rows).encode(), str(path))
    assert path.read_text() == "* ada lab_production,lab\n"
    assert reloads.read_text() == "\n"  # once: nothing had changed
