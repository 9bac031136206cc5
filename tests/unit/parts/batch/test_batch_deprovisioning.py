"""Whose jobs are held, removed and released, with HTCondor's commands in place that say and remember what they are told."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from farmlet.parts.batch import deprovisioning

FIRST = 20000
# `condor_q` as HTCondor 23.9: with `-af` words of whatever is in the job, with `-json` typed values
COMMANDS = """
import json, pathlib, sys
name, words = pathlib.Path(sys.argv[0]).name, sys.argv[1:]
folder = pathlib.Path(sys.argv[0]).parent
if name == "systemd-run":
    words = words[next(n for n, word in enumerate(words) if not word.startswith("--")):]
    name = words.pop(0)
if name != "condor_q":
    with open(folder / "told", "a") as log:
        print(name, *words, file=log)
    sys.exit()
jobs = json.loads((folder / "jobs").read_text())
if "7001" in " ".join(words):
    jobs = [job for job in jobs if job["JobStatus"] == 5 and job.get("HoldReasonSubCode") == 7001]
if "-json" in words:
    wanted = words[words.index("-attributes") + 1].split(",")
    print(json.dumps([{key: job[key] for key in wanted if key in job} for job in jobs]) if jobs else "")
else:
    for job in jobs:
        print(*(job.get(key, "undefined") for key in words[words.index("-af") + 1:]))
"""


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("systemd-run", "condor_q", "condor_hold", "condor_rm", "condor_release", "condor_vacate_job"):
        (tmp_path / name).write_text(f"#!{sys.executable}\n{COMMANDS}")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(deprovisioning, "SHADOW_SECONDS", 0)
    return tmp_path


def apply(queue: Path, *jobs: dict[str, Any], **states: str) -> list[str]:
    """What the commands were told, once each."""
    (queue / "jobs").write_text(json.dumps(jobs))
    (queue / "told").unlink(missing_ok=True)
    rows = [{"name": name, "uid": FIRST + number, "state": state} for number, (name, state) in enumerate(states.items())]
    deprovisioning.apply(json.dumps(rows).encode(), first_uid=FIRST)
    return (queue / "told").read_text().splitlines() if (queue / "told").exists() else []


def job(owner: str, status: Any = 1, code: Any = None) -> dict[str, Any]:
    return {"Owner": owner, "JobStatus": status} | ({} if code is None else {"HoldReasonSubCode": code})


@pytest.mark.parametrize("odd", ["a b", "", "1\n2", "eve 2 3", [7001], {"x": 1}, -1])
def test_what_one_member_writes_does_not_keep_the_others_jobs(queue: Path, odd: Any) -> None:
    jobs = [job("eve", 5, odd), job("bob"), job("cleo", 2), job("dora", 5, 7001), job("root", 5, 7001)]
    told = apply(queue, *jobs, bob="suspended", cleo="removed", dora="active", eve="active")
    assert [line.split()[0] for line in told] == ["condor_vacate_job", "condor_rm", "condor_hold", "condor_release"]
    assert ['"cleo"' in told[0], '"cleo"' in told[1], '"bob"' in told[2], '"dora,root"' in told[3]] == [True] * 4
    assert not any("eve" in line for line in told)


def test_an_odd_status_does_not_keep_a_job_from_its_end(queue: Path) -> None:
    assert "condor_rm" in apply(queue, job("eve", "4 4"), eve="removed")[0]


def test_a_process_that_calls_itself_by_no_text_is_passed_over(tmp_path: Path) -> None:
    for number, name in enumerate((b"\xff\xfe", b"condor_shadow", b"condor_shadow\\n")):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "status").write_bytes(b"Name:\t" + name + b"\nUmask:\t0022\nUid:\t20001\t20001\t20001\t20001\n")
    shadows = [deprovisioning._is_shadow(tmp_path / str(number) / "status", {20001}) for number in range(3)]
    assert shadows == [False, True, False]
