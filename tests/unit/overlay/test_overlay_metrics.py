"""What is counted of drones: labels are ours, whatever drones and TARDIS say."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from farmlet.parts.overlay import metrics
from farmlet.runtime.metrics import render


def test_drones_by_site_and_state(tmp_path: Path) -> None:
    registry, told = tmp_path / "drones.db", tmp_path / "demand.json"
    with sqlite3.connect(registry) as database:
        database.executescript("""
          CREATE TABLE ResourceStates (state_id INTEGER PRIMARY KEY, state VARCHAR(255));
          CREATE TABLE Sites (site_id INTEGER PRIMARY KEY, site_name VARCHAR(255));
          CREATE TABLE Resources (id INTEGER PRIMARY KEY, state_id INTEGER, site_id INTEGER);
          INSERT INTO ResourceStates VALUES (1, 'BootingState'), (2, 'AvailableState'), (3, 'DownState'), (4, 'CleanupState');
          INSERT INTO Sites VALUES (1, 'tier1'), (2, 'gone');
          INSERT INTO Resources VALUES (1, 1, 1), (2, 2, 1), (3, 2, 1), (4, 3, 1), (5, 4, 1), (6, 2, 2);
        """)
    told.write_text(json.dumps({"at": 1, "demand": 3.5, "odd": {}, "silent": {}}))
    text = render(metrics.count_drones(str(registry), str(told), ["tier1"]))
    assert 'farmlet_overlay_drones{site="tier1",state="ordered"} 1.0' in text
    assert 'farmlet_overlay_drones{site="tier1",state="available"} 2.0' in text
    assert 'farmlet_overlay_drones{site="tier1",state="other"} 1.0' in text
    assert "farmlet_overlay_demand_cores 3.5" in text and "gone" not in text


def test_slots_by_site(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "tier1 Claimed\ntier1 Unclaimed\ntier1 Claimed\nelse\nwhere Claimed\nelsewhere Claimed\n"
    monkeypatch.setattr(metrics, "run", lambda *words: said)
    text = render(metrics.count_slots("service", ["tier1", "hpc"]))
    assert 'farmlet_overlay_slots{site="tier1",state="claimed"} 2.0' in text
    assert 'farmlet_overlay_slots{site="tier1",state="idle"} 1.0' in text
    assert 'farmlet_overlay_slots{site="hpc",state="idle"} 0.0' in text and "else" not in text
