"""The submit file, and what counts as proof that jobs ran at a site."""

from __future__ import annotations

import re
from typing import Any

import pytest

from farmlet.demo.jobs import Batch, Done, check_reports, cut_rows, render_submit
from farmlet.errors import FarmletError

CUTS = {"rows": 1152, "two global muons": 200}


class Node:
    """Answers scripts as the log-in node would: the first text whose key is in the script."""

    def __init__(self, **answers: str) -> None:
        self.answers = answers

    def ssh(self, script: str, given: bytes = b"", timeout: float = 0) -> str:
        return next((text for key, text in self.answers.items() if key in script), "")


def make_batch(**answers: str) -> Batch:
    return Batch.submit(Node(**answers), "folder", 2, "17.0 - 17.1\n18.0 - 18.0\n")  # type: ignore[arg-type]


def make_report(**changes: Any) -> dict[str, Any]:
    return {"image": "analysis 12ab", "host": "n1", "deviation": 1e-8, "counts": dict(CUTS)} | changes


def test_submit_file() -> None:
    text = render_submit("/cvmfs/unpacked/analysis", "https://se.test:8443/users/ada/demo", cut_rows(2304, 8))
    assert "@@" not in text
    assert "container_image = /cvmfs/unpacked/analysis\n" in text
    assert "$(first)" in text and "$(Process)" in text
    assert re.search(r"^requirements += \(TARGET.FarmletSite =!= undefined\)$", text, re.MULTILINE)
    block = text[text.index("queue first, last from (") :].strip().splitlines()[1:-1]
    assert len(block) == 8 and block[0] == "0, 288" and block[-1] == "2016, 2304"


def test_the_submit_file_of_a_job_that_stays_here() -> None:
    text = render_submit("/i", "https://se.test/users/ada/demo", [(0, 288)], own=True)
    assert "@@" not in text and "FarmletSite =!=" not in text
    assert "My.WantLocal      = true\n" in text and "histogram-own.root" in text and "jobs/own.out\n" in text


def test_what_the_job_that_stays_here_printed() -> None:
    assert make_batch(**{"cat folder": '{"image": "analysis 12ab"}'}).load_own() == {"image": "analysis 12ab"}
    with pytest.raises(FarmletError, match="did not report: no token"):
        make_batch(tail="no token").load_own()


def test_submit_file_has_no_token() -> None:
    """No token, no file with one, and no variable that would carry one: the batch system hands it over."""
    text = render_submit("/i", "https://se.test/users/ada/demo", [(0, 1)])
    settings = "\n".join(line for line in text.splitlines() if not line.startswith("#")).lower()
    assert "use_oauth_services = farmlet" in settings
    for word in ("token", "bearer", "eyj", "environment", "getenv", "transfer_input_files", "refresh"):
        assert word not in settings


def test_wait_returns_the_history() -> None:
    history = (
        '[{"ProcId":1,"ExitCode":0,"LastRemoteHost":"slot1_1@t-a@n","MachineAttrFarmletSite0":"tier1"},'
        '{"ProcId":0,"ExitCode":0,"LastRemoteHost":"slot1_1@t-b@n","MachineAttrFarmletSite0":"tier1"}]'
    )
    batch = make_batch(condor_q=f"\n---\n{history}\n")
    done = batch.wait(lambda: ["slot1@t-a@n"], patience=1)
    assert [job.number for job in done] == [0, 1]
    assert done[1] == Done(1, 0, "slot1_1@t-a@n", "tier1")
    assert batch.seen == {"slot1@t-a@n"}


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ('[{"ProcId":1,"JobStatus":5,"HoldReason":"no image"}]\n---\n', "is held: no image"),
        ('---\n[{"ProcId":1,"ExitCode":1,"LastRemoteHost":"slot1@x"}]', "ended with 1 in slot1@x: dimuon.py: 403"),
    ],
)
def test_wait_stops_at_a_bad_job(state: str, says: str) -> None:
    with pytest.raises(FarmletError, match=r"^job 17\.1: ") as caught:
        make_batch(condor_q=state, tail="dimuon.py: 403").wait(list, patience=1)
    assert says in caught.value.what
    assert "condor_q -better-analyze 17.1" in caught.value.hint


def test_wait_has_an_end() -> None:
    batch = make_batch(condor_q='[{"ProcId":0,"JobStatus":1},{"ProcId":1,"JobStatus":1}]\n---\n')
    with pytest.raises(FarmletError, match="0 of 2 jobs ended in 0 s; 0 drone slots now"):
        batch.wait(list, patience=0, pause=0)


def test_fewer_jobs_than_asked_for() -> None:
    with pytest.raises(FarmletError, match="did not make 8 jobs"):
        Batch.submit(Node(), "folder", 8, "17.0 - 17.1\n")  # type: ignore[arg-type]


def test_reports_are_proof() -> None:
    done = [Done(0, 0, "slot1@a", "tier1"), Done(1, 0, "slot1@b", "tier1")]
    assert check_reports([make_report(), make_report()], done, 2304) == {"rows": 2304, "two global muons": 400}


@pytest.mark.parametrize(
    ("change", "site", "says"),
    [
        ({"image": "none"}, "tier1", "outside the software image"),
        ({"deviation": 0.1}, "tier1", "differ by 0.1 GeV"),
        ({"counts": CUTS | {"rows": 1}}, "tier1", "1153 rows of 2304"),
        ({}, "", "at no site"),
    ],
)
def test_reports_that_prove_nothing(change: dict[str, Any], site: str, says: str) -> None:
    done = [Done(0, 0, "slot1@a", "tier1"), Done(1, 0, "slot1@head", site)]
    with pytest.raises(FarmletError, match=says):
        check_reports([make_report(), make_report(**change)], done, 2304)
