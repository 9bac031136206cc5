"""The program at a submit host, run as `ssh` runs it, over stand-ins of HTCondor's commands that keep a queue in a folder."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from farmlet.parts.sitetests.jobs import queue as module
from farmlet.parts.sitetests.jobs.job import pack
from farmlet.parts.sitetests.jobs.outpost import LONG
from farmlet.parts.sitetests.jobs.queue import Place, Queue, Unreachable, View, read
from farmlet.parts.sitetests.suite import Test

PLACE = Place("tier1", "tier1.example.net", "drone", "tests-example.org")
FOLDER = "home/tests-example.org"
# a queue is a file a job, NAME, with its line for condor_q; `condor_submit` writes the log as HTCondor does
STAND_INS = {
    "condor_q": 'cat $LAB/queue/* 2> /dev/null | if [ "$1" = -constraint ]; then cut -d" " -f1; else cat; fi; '
    'if [ -e $LAB/down ]; then echo "no schedd" >&2; exit 1; fi',
    "condor_submit": 'echo >> $LAB/calls; for name in $(sed -n \'s/^+FarmletRun = "\\(.*\\)"/\\1/p\' "$2"); do '
    'echo "$name" >> $LAB/submitted; printf "000 (1.0.0) now Job submitted\\n...\\n" > $name/log; '
    'echo "$name 1 undefined" > $LAB/queue/$name; done',
    "condor_rm": 'for name in $(echo "$2" | grep -o \'"[^"]*"\' | tr -d \'"\'); do rm -f $LAB/queue/$name; done',
}
ENDED = "001 (1.0.0) now Job executing on host: <>\n...\n005 (1.0.0) now Job terminated.\n\t(1) Normal termination\n...\n"
Talk = Callable[[Queue], Awaitable[object]]


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("bin", "queue", "home"):
        (tmp_path / name).mkdir()
    for name, body in STAND_INS.items():
        stand_in(tmp_path, name, body)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("LAB", str(tmp_path))
    return tmp_path


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """The queue itself is asked soon."""
    monkeypatch.setattr(module, "PROGRAM", module.PROGRAM.replace(f"LONG = {LONG}", "LONG = 0.2"))


def stand_in(lab: Path, name: str, body: str) -> None:
    (lab / "bin" / name).write_text(f"#!/bin/sh\n{body}\n")
    (lab / "bin" / name).chmod(0o755)


def talk(lab: Path, work: Talk) -> None:
    """Over one connection, which has ended then."""

    async def run() -> None:
        queue = Queue(PLACE, ["env", "-C", str(lab / "home"), "sh", "-c"])
        await work(queue)
        await queue.look([], [])
        assert queue.process is None

    asyncio.run(run())


def make(folder: Path, name: str = "tier1-1-aa", token: str = "") -> dict[str, bytes]:
    (folder / "probe.py").write_text("def test(): pass")
    return pack(name, [Test("probe", (folder / "probe.py",), "function", 60, 10)], {"FARMLET_SITE": "tier1"}, 100, token)


def end(lab: Path, name: str, result: str = "") -> None:
    """A job ends as HTCondor has it: what it left first."""
    if result:
        (lab / FOLDER / name / "result.json").write_text(result)
    (lab / "queue" / name).unlink()
    with (lab / FOLDER / name / "log").open("a") as log:
        log.write(ENDED)


def test_what_goes_to_a_site_is_all_that_a_job_needs(tmp_path: Path) -> None:
    packed = make(tmp_path)
    assert list(packed) == ["spec.json", "job.sub", "probe/probe.py"]
    assert b'+FarmletRun = "tier1-1-aa"' in packed["job.sub"] and b"spec.token" not in packed["job.sub"]
    packed = make(tmp_path, token="letter")
    assert b"transfer_input_files = spec.json, spec.token, probe" in packed["job.sub"] and b"letter" not in packed["spec.json"]


def test_a_job_asks_for_the_most_that_one_of_its_tests_wants(tmp_path: Path) -> None:
    (tmp_path / "probe").touch()
    tests = [Test(name, (tmp_path / "probe",), "program", 60) for name in ("small", "wide", "large")]
    tests[1:] = [replace(tests[1], cores=4, disk=2000), replace(tests[2], memory=4096)]
    for found, wanted in ((tests[:1], ("1", "256", "102400")), (tests, ("4", "4096", "2048000"))):
        told = pack("tier1-1-aa", found, {}, 100)["job.sub"].decode()
        assert tuple(re.findall(r"^request_\w+ = (.*)$", told, re.MULTILINE)) == wanted


def test_jobs_are_submitted_together_and_once_however_often_that_is_tried(lab: Path) -> None:
    jobs = {name: make(lab, name, "letter") for name in ("tier1-1-aa", "tier1-2-bb")}

    async def work(queue: Queue) -> None:
        for _ in range(2):
            await queue.submit(jobs)
        end(lab, "tier1-1-aa")
        await queue.submit(jobs)
        (lab / FOLDER / "tier1-3-cc").mkdir()  # a killed process got no further than this
        await queue.submit({"tier1-3-cc": make(lab, "tier1-3-cc")})

    talk(lab, work)
    talk(lab, lambda queue: queue.submit(jobs))
    assert (lab / "submitted").read_text().split() == ["tier1-1-aa", "tier1-2-bb", "tier1-3-cc"]
    assert (lab / "calls").read_text() == "\n\n"
    folder = lab / FOLDER
    modes = {path: (folder / path).stat().st_mode & 0o777 for path in (".", "tier1-2-bb/runner.py", "tier1-2-bb/spec.token")}
    assert modes == {".": 0o700, "tier1-2-bb/runner.py": 0o700, "tier1-2-bb/spec.token": 0o600}


@pytest.mark.usefixtures("short")
def test_a_queue_that_does_not_answer_takes_no_job_and_the_next_question_goes_another_way(lab: Path) -> None:
    (lab / "down").touch()

    async def work(queue: Queue) -> None:
        with pytest.raises(Unreachable, match="the submit host: no schedd"):
            await queue.submit({"tier1-1-aa": make(lab)})
        with pytest.raises(Unreachable, match="no schedd"):
            await queue.look(["tier1-1-aa"], [])
        assert queue.process is None and not (lab / "submitted").exists()
        (lab / "down").unlink()
        await queue.submit({"tier1-1-aa": make(lab)})
        assert queue.process is not None
        os.killpg(queue.process.pid, signal.SIGKILL)
        with pytest.raises(Unreachable):
            await queue.look(["tier1-1-aa"], [])
        assert (await queue.look(["tier1-1-aa"], [])).states == {"tier1-1-aa": (1, "undefined")}

    talk(lab, work)


def test_an_end_is_told_when_it_comes_and_nothing_else_is_asked(lab: Path) -> None:
    async def work(queue: Queue) -> None:
        await queue.submit({name: make(lab, name) for name in ("tier1-1-aa", "tier1-2-bb")})
        stand_in(lab, "condor_q", "touch $LAB/asked")
        look = asyncio.create_task(queue.look(["tier1-1-aa", "tier1-2-bb"], []))
        await asyncio.sleep(0.5)
        with (lab / FOLDER / "tier1-2-bb/log").open("a") as log:
            log.write("001 (2.0.0) now Job executing on host: <>\n...\n005 (2.0.0) now half an ev")
        await asyncio.sleep(0.5)
        assert not look.done()
        end(lab, "tier1-1-aa", '{"a": "ü\\n"}')
        found = await look
        assert found == View({"tier1-2-bb": (2, "")}, {"tier1-1-aa": '{"a": "ü\\n"}'.encode()})
        look = asyncio.create_task(queue.look(["tier1-2-bb"], ["tier1-1-aa"]))
        await asyncio.sleep(0.5)
        assert not look.done() and not (lab / FOLDER / "tier1-1-aa").exists()
        queue.hurry()
        assert (await look).states == {"tier1-2-bb": (2, "")}
        await queue.look([], ["tier1-2-bb"])

    began = time.monotonic()
    talk(lab, work)
    assert time.monotonic() - began < LONG and not (lab / "asked").exists()


@pytest.mark.usefixtures("short")
def test_what_became_of_jobs(lab: Path) -> None:
    names = ["tier1-1-aa", "tier1-2-bb", "tier1-3-cc", "tier1-4-dd"]

    async def work(queue: Queue) -> None:
        await queue.submit({name: make(lab, name) for name in names})
        (lab / "queue/drone").write_text("- 2 undefined\n- 1 undefined\n- 2 undefined\n")
        found = await queue.look(names, [])
        assert found == View(dict.fromkeys(names, (1, "undefined")), drones=2)
        end(lab, "tier1-1-aa", "{}")
        (lab / "queue/tier1-2-bb").write_text("tier1-2-bb 5 no such file or directory\n")
        with (lab / FOLDER / "tier1-2-bb/log").open("a") as log:
            log.write("012 (2.0.0) now Job was held.\n\tno such file\n\tCode 13 Subcode 2\n...\n")
        (lab / "queue/tier1-3-cc").unlink()  # and nothing in its log
        (lab / FOLDER / "tier1-3-cc/err").write_text("Traceback\nbad \x1b[2Jluck\n")
        found = await queue.look(names, [])
        assert found.results == {"tier1-1-aa": b"{}"} and found.states["tier1-2-bb"] == (5, "no such file")
        found = await queue.look(["tier1-3-cc", "tier1-4-dd"], ["tier1-1-aa"])
        assert found.errors == {"tier1-3-cc": "Traceback bad �[2Jluck"} and found.drones == 2
        assert found.states == {"tier1-4-dd": (1, "undefined")}
        assert await queue.look([], names) == View(drones=2)

    talk(lab, work)
    assert not [path for path in (lab / FOLDER).iterdir() if path.is_dir()]
    assert [path.name for path in (lab / "queue").iterdir()] == ["drone"]


@pytest.mark.usefixtures("short")
def test_whether_a_pool_has_machines_is_asked_while_a_job_waits(lab: Path) -> None:
    async def work(queue: Queue) -> None:
        await queue.submit({"tier1-1-aa": make(lab)})
        assert not (await queue.look(["tier1-1-aa"], [])).empty  # nobody can say
        for said, empty in (("exit 0", True), ("echo wn1", False), ("echo no >&2; exit 1", False)):
            stand_in(lab, "condor_status", said)
            assert (await queue.look(["tier1-1-aa"], [])).empty is empty
        stand_in(lab, "condor_status", "touch $LAB/asked")
        (lab / "queue/tier1-1-aa").write_text("tier1-1-aa 2 undefined")
        assert not (await queue.look(["tier1-1-aa"], [])).empty and not (lab / "asked").exists()

    talk(lab, work)


def test_it_ends_when_nobody_is_there_any_more(lab: Path) -> None:
    program = ["python3", "-I", "-c", module.PROGRAM.replace("QUIET = 60.0", "QUIET = 0.5"), "tests"]
    for given in (subprocess.DEVNULL, subprocess.PIPE):
        assert subprocess.Popen(program, cwd=lab / "home", stdin=given, stdout=subprocess.PIPE).wait(20) == 0


def test_a_site_that_says_too_much_or_nonsense() -> None:
    for said, words in (
        ("cat /dev/zero", "says more than"),
        ("echo 'farmlet: [1]'; sleep 9", "no answer"),
        ("echo 'farmlet: {'; sleep 9", "no answer"),
        ("echo 'Permission denied' >&2; exit 255", "Permission denied"),
    ):
        with pytest.raises(Unreachable, match=words):
            asyncio.run(Queue(PLACE, ["sh", "-c", said]).look([], []))
    assert read({"states": {"a": 1, "b": ["1", 2], "c": []}, "results": {"x": "!!"}, "errors": 5, "drones": "many"}) == View(
        results={"x": b""}
    )
