"""What ended jobs used: each counts once, in whatever pieces the file comes."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from farmlet.parts.batch import history
from farmlet.runtime.metrics import render

# as HTCondor 23 writes it, shortened
JOB = """\
AcctGroup = "lab"
AcctGroupUser = "ada"
CpusProvisioned = 2
ExitCode = {code}
JobStartDate = 1700000100
JobStatus = {status}
JobUniverse = 5
MachineAttrFarmletSite0 = {site}
QDate = 1700000000
RemoteSysCpu = 10.0
RemoteUserCpu = 90.0
RemoteWallClockTime = {wall}
Requirements = (TARGET.Arch == "X86_64") && (TARGET.Cpus >= RequestCpus)
UserLog = "*** Offset = 0 ClusterId = 9"
*** Offset = 0 ClusterId = 1 ProcId = 0 Owner = "ada" CompletionDate = 1700000200
"""
GOOD = JOB.format(code=0, status=4, site='"tier1"', wall=100.0)


def measure(root: Path) -> dict[tuple[str, ...], float]:
    found = history.measure(str(root / "history"), str(root / "kept" / "ended.json"), ["lab"], ["tier1"])
    assert not found or render(found)
    return {(one.name, *one.labels.values()): one.value for one in found}


def test_each_job_counts_once_by_group_site_and_result(tmp_path: Path) -> None:
    assert measure(tmp_path) == {}
    texts = [
        GOOD,
        JOB.format(code=1, status=4, site='"mine"', wall=3.0),
        JOB.format(code=0, status=3, site="undefined", wall=1.0),
    ]
    (tmp_path / "history").write_text("".join(texts))
    first = measure(tmp_path)
    assert first == measure(tmp_path)
    assert first["batch_ended_jobs", "lab", "tier1", "ok"] == first["batch_ended_jobs", "lab", "local", "failed"] == 1
    assert first["batch_ended_jobs", "lab", "local", "removed"] == 1
    assert (first["batch_cpu", "lab", "tier1"], first["batch_core", "lab", "tier1"]) == (100, 200)
    assert first["batch_waited", "lab", "tier1"] == 100 and first["batch_starts", "lab", "tier1"] == 1
    assert first["batch_quick_failures", "lab", "local"] == 1 and first["batch_quick_failures", "lab", "tier1"] == 0


def test_a_job_that_never_began_was_nowhere(tmp_path: Path) -> None:
    text = JOB.format(code=0, status=3, site="undefined", wall=0.0).replace("JobStartDate = 1700000100\n", "")
    (tmp_path / "history").write_text(text)
    assert measure(tmp_path) == {
        ("batch_ended_jobs", "lab", "none", "removed"): 1,
        ("batch_quick_failures", "lab", "none"): 0,
    }


def test_a_file_that_is_put_aside_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "history"
    path.write_text(GOOD)
    measure(tmp_path)
    with path.open("a") as stream:
        stream.write(GOOD)
    path.rename(tmp_path / "history.20261130T010203")
    path.write_text(GOOD + GOOD[:50])
    assert measure(tmp_path)["batch_ended_jobs", "lab", "tier1", "ok"] == 3
    with path.open("a") as stream:
        stream.write(GOOD[50:])
    assert measure(tmp_path)["batch_ended_jobs", "lab", "tier1", "ok"] == 4


def test_a_state_that_cannot_be_read_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "history").write_text(GOOD)
    measure(tmp_path)
    (tmp_path / "kept" / "ended.json").write_text("{")
    assert measure(tmp_path)["batch_ended_jobs", "lab", "tier1", "ok"] == 1
    assert json.loads((tmp_path / "kept" / "ended.json").read_text())["offset"] == len(GOOD)


@settings(max_examples=200)
@given(st.dictionaries(st.sampled_from(sorted(history.WANTED)), st.text() | st.integers().map(str) | st.floats().map(str)))
def test_odd_values_cost_their_own_job_only(odd: dict[str, str]) -> None:
    text = "".join(f"{name} = {json.dumps(value) if i % 2 else value}\n" for i, (name, value) in enumerate(odd.items()))
    ad = history._parse(text.encode(errors="replace"))
    counts = defaultdict[history.Key, float](float)
    history._count(ad, counts, ["lab"], ["tier1"])
    assert all(0 <= value < 1e14 for value in counts.values())
    assert {key[1] for key in counts} <= {"lab", "other"} and {key[2] for key in counts} <= {"tier1", "local", "none"}
