"""Why a job is where it is, in words."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from farmlet.parts import gate
from farmlet.parts.batch.why import Place, tell
from farmlet.parts.overlay.look import look

PLACE = Place(("tier1", "hpc"), ("HasCVMFS_sft_cern_ch",), {"lab": 0.25, "lab_production": 0.75})
JOB = {
    "Owner": "ada",
    "JobStatus": 1,
    "AcctGroup": "lab",
    "RequestCpus": 1,
    "RequestMemory": 300,
    "EnteredCurrentStatus": 1796055000,
}
FREE = {"FarmletSite": "tier1", "State": "Unclaimed", "PartitionableSlot": True, "Cpus": 1, "Memory": 1024, "TotalSlotDisk": 1e6}
OWN = {"State": "Unclaimed", "PartitionableSlot": True, "Cpus": 2, "Memory": 5120, "TotalSlotCpus": 2}
USED = FREE | {"Cpus": 0, "Memory": 0} | {"TotalSlotCpus": 1, "TotalSlotMemory": 1024}
TAKEN = {"FarmletSite": "tier1", "State": "Claimed", "Cpus": 1, "AccountingGroup": "lab_production.bob@af.test"}
TABLE = """
Step    Matched  Condition
-----  --------  ---------
[0]           {}  {}
[9]           1  TARGET.FileSystemDomain == MY.FileSystemDomain
"""
SITE = {"closed": "", "pause": "", "ordered": []}


def ask(
    more: dict[str, Any], slots: tuple[dict[str, Any], ...] = (), condition: str = "", count: int | str = 0, **overlay: Any
) -> list[tuple[str, str]]:
    """Code and words of each reason."""
    analysis = TABLE.format(count, condition) if condition else ""
    told = tell("7.0", "head.af.test", {"job": JOB | more, "analysis": analysis, "slots": [OWN, *slots]}, overlay, PLACE)
    return [(reason.code, f"{reason.text} | {reason.next}") for reason in told.reasons]


@pytest.mark.parametrize(
    "more, code, words",
    [
        ({"JobStatus": 5, "HoldReason": "too large", "HoldReasonCode": 34}, "held", "too large | let it have more"),
        ({"JobStatus": 5, "HoldReason": "\x1b[31mmine", "HoldReasonCode": "odd"}, "held", "[31mmine | mend what"),
        ({"JobStatus": 4, "ExitCode": 3, "ExitBySignal": False}, "ended", "exit code 3"),
        ({"JobStatus": 4, "ExitBySignal": True, "ExitSignal": 9}, "ended", "signal 9"),
        ({"JobStatus": 3, "RemoveReason": "via condor_rm (by user ada)"}, "removed", "by user ada"),
    ],
)
def test_held_and_gone(more: dict[str, Any], code: str, words: str) -> None:
    ((found, told),) = ask(more)
    assert found == code and words in told


def test_running() -> None:
    more = {"JobStatus": 2, "JobCurrentStartDate": 1796055001, "RemoteHost": "slot1_1@tier1-25ac@node7.example.org"}
    told = tell("7.0", "head", {"job": JOB | more | {"MachineAttrFarmletSite0": "tier1"}}, {}, PLACE)
    assert (told.state, told.site, told.host, told.since, told.reasons) == (
        "running",
        "tier1",
        "node7.example.org",
        1796055001,
        (),
    )


@pytest.mark.parametrize(
    "condition, code, words",
    [
        ("HasCVMFS_atlas_example_org", "repository", "is asked for the CVMFS repository of HasCVMFS_atlas_example_org"),
        ("TARGET.HasCVMFS_sft_cern_ch", "repository", "there now has HasCVMFS_sft_cern_ch"),
        ('TARGET.FarmletSite == "moon"', "site", "no site moon"),
        ('TARGET.FarmletSite is "moon"', "site", "no site moon"),
        ("TARGET.HasSIF", "image", "mounts image files"),
        ("TARGET.Odd > 3", "condition", "meets TARGET.Odd > 3"),
    ],
)
def test_what_no_slot_meets(condition: str, code: str, words: str) -> None:
    ((found, told),) = ask({}, (FREE,), condition)
    assert found == code and words in told
    if code not in ("site",) and "atlas" not in condition:
        assert [one for one, _ in ask({}, (), condition)] == ["soon"], "what a drone would have is not known before there is one"
        assert [one for one, _ in ask({}, (FREE,), condition, 1)] == ["soon"]


def test_one_of_several_conditions_is_enough() -> None:
    either = 'Machine == "x"\n[1]           1  Cpus > 0\n[2]           {}  [0] || [1]'
    assert [code for code, _ in ask({}, (FREE,), either.format(1))] == ["soon"]
    assert next(words for _, words in ask({}, (FREE,), either.format(0))).startswith(
        'no slot that is there now meets Machine == "x"'
    )
    assert "`requirements` are false" in ask({}, (), "false", "never")[0][1]


def test_sizes() -> None:
    assert "request_cpus = 4; the largest: 2" in ask({"WantLocal": True, "RequestCpus": 4})[0][1]
    assert "request_disk = 2000000000K; the largest: 1000000" in ask({"RequestDisk": 2_000_000_000}, (FREE,))[0][1]
    assert ask({"RequestDisk": "/Expr(max({ DiskUsage,1048576 }))/"}, (FREE,), "TARGET.Disk >= RequestDisk")[0][0] == "soon"


def test_slots_that_others_have_and_drones_that_do_not_come() -> None:
    assert ask({}, (USED, TAKEN)) == [
        ("busy", "all slots for it are in use (cores by group: lab_production 1); lab has a share of 25% of the pool | ")
    ]
    assert ask({}, (USED, TAKEN), untaken=["7.0 of ada at head.af.test"])[0][0] == "untaken"
    assert ask({}, (FREE,), untaken=["17.0 of ada at head.af.test", "7.0 of ada at other.af.test"])[0][0] == "soon"
    ((code, told),) = ask({}, sites={"tier1": SITE | {"ordered": [1796055000, 1796055060]}, "hpc": SITE})
    assert code == "ordered" and told.startswith("2 drones were ordered at site tier1, 2026-11-30 16:10:00 UTC")
    sites = {"tier1": SITE | {"closed": "down for repair"}, "hpc": SITE | {"pause": "; no drones are ordered for 30 s more"}}
    assert [code for code, _ in ask({}, sites=sites)] == ["closed", "pause"]
    assert [code for code, _ in ask({"WantLocal": True}, sites=sites)] == ["soon"], "its slot is the facility's own"


def test_what_the_overlay_has(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "drones.db") as database:
        database.executescript("""
            CREATE TABLE Sites (site_id INTEGER, site_name VARCHAR(255));
            CREATE TABLE ResourceStates (state_id INTEGER, state VARCHAR(255));
            CREATE TABLE Resources (state_id INTEGER, site_id INTEGER, created TIMESTAMP);
            INSERT INTO Sites VALUES (1, 'tier1'); INSERT INTO ResourceStates VALUES (2, 'BootingState'), (5, 'AvailableState');
            INSERT INTO Resources VALUES (2, 1, '2026-11-30 16:10:00.5'), (5, 1, '2026-11-30 16:00:00');
        """)
    gate.save(tmp_path, "hpc", gate.Gate(False, 1.0, "storage fails"))
    (tmp_path / "told").write_text(json.dumps({"untaken": ["7.0 of ada at head"]}))
    pauses = {name: str(tmp_path / "pause") for name in ("tier1", "hpc")}
    found = look(str(tmp_path / "drones.db"), str(tmp_path / "told"), str(tmp_path), pauses)
    assert len(found["sites"]["tier1"]["ordered"]) == 1 and found["sites"]["hpc"]["closed"] == "storage fails"
    assert found["untaken"] == ["7.0 of ada at head"]
    nothing = look(str(tmp_path / "none"), str(tmp_path / "none"), str(tmp_path), {"tier1": str(tmp_path / "pause")})
    assert nothing == {"sites": {"tier1": SITE}, "untaken": []}
