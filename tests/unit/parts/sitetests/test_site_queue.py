"""The scripts for the far side, run by a real shell over stand-ins of HTCondor's commands that keep a queue in a folder."""

from __future__ import annotations

import asyncio
import os
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from farmlet.parts.sitetests.jobs.job import pack
from farmlet.parts.sitetests.jobs.queue import Place, Queue, Unreachable, View, read
from farmlet.parts.sitetests.suite import Test

PLACE = Place("tier1", "tier1.example.net", "drone", "tests-example.org")
# a queue is a file a job, NAME, with its line for condor_q; `condor_submit` writes the log as HTCondor does
STAND_INS = {
    "condor_q": 'case "$1" in -constraint) cat $LAB/queue/"$(echo "$2" | cut -d\\" -f2)" 2> /dev/null | head -n 1;;'
    " *) cat $LAB/queue/* 2> /dev/null;; esac; [ ! -e $LAB/down ]",
    "condor_submit": 'echo "$PWD" >> $LAB/submitted; name=$(basename "$PWD"); touch log; '
    'echo "$name 1 undefined" > $LAB/queue/$name',
    "condor_rm": 'rm -f $LAB/queue/"$(echo "$2" | cut -d\\" -f2)"',
}


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("bin", "queue", "home"):
        (tmp_path / name).mkdir()
    for name, body in STAND_INS.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("LAB", str(tmp_path))
    return tmp_path


def connect(lab: Path) -> Queue:
    return Queue(PLACE, ["env", "-C", str(lab / "home"), "sh", "-c"])


def make(folder: Path, name: str = "tier1-1-aa") -> bytes:
    (folder / "probe.py").write_text("def test(): pass")
    return pack(name, [Test("probe", (folder / "probe.py",), "function", 60, 10)], {"FARMLET_SITE": "tier1"}, 100)


def test_an_archive_has_all_that_a_job_needs(tmp_path: Path) -> None:
    with tarfile.open(fileobj=BytesIO(make(tmp_path))) as archive:
        assert archive.getnames() == ["runner.py", "spec.json", "job.sub", "probe", "probe/probe.py"]
        said = archive.extractfile("job.sub")
        assert said is not None and '+FarmletRun = "tier1-1-aa"' in said.read().decode()


def test_whether_a_pool_has_machines_is_asked_while_a_job_waits(lab: Path) -> None:
    queue = connect(lab)
    asyncio.run(queue.submit("tier1-1-aa", make(lab)))
    assert not asyncio.run(queue.look(["tier1-1-aa"], [])).empty  # nobody can say
    status = lab / "bin/condor_status"
    for said, empty in (("exit 0", True), ("echo wn1", False), ("echo no >&2; exit 1", False)):
        status.write_text(f"#!/bin/sh\n{said}\n")
        status.chmod(0o755)
        assert asyncio.run(queue.look(["tier1-1-aa"], [])).empty is empty
    status.write_text("#!/bin/sh\ntouch $LAB/asked\n")
    (lab / "queue/tier1-1-aa").write_text("tier1-1-aa 2 undefined")
    assert not asyncio.run(queue.look(["tier1-1-aa"], [])).empty and not (lab / "asked").exists()


def test_a_token_goes_where_only_the_job_reads_it(tmp_path: Path) -> None:
    (tmp_path / "probe.py").write_text("def test(): pass")
    packed = pack("tier1-1-aa", [Test("probe", (tmp_path / "probe.py",), "function", 60, 10)], {}, 100, "letter")
    with tarfile.open(fileobj=BytesIO(packed)) as archive:
        assert archive.getmember("spec.token").mode == 0o600
        said, spec = (archive.extractfile(name) for name in ("job.sub", "spec.json"))
        assert (
            said
            and spec
            and b"transfer_input_files = spec.json, spec.token, probe" in said.read()
            and b"letter" not in spec.read()
        )


def test_a_job_is_submitted_once_however_often_it_is_tried(lab: Path) -> None:
    queue = connect(lab)
    for _ in range(2):
        asyncio.run(queue.submit("tier1-1-aa", make(lab)))
    (lab / "queue" / "tier1-1-aa").unlink()  # it has ended
    asyncio.run(queue.submit("tier1-1-aa", make(lab)))
    assert (lab / "submitted").read_text().split() == [str(lab / "home/tests-example.org/tier1-1-aa")]
    folder = lab / "home/tests-example.org"
    assert folder.stat().st_mode & 0o777 == 0o700
    # a killed process got no further than this
    (folder / "tier1-2-bb").mkdir()
    asyncio.run(queue.submit("tier1-2-bb", make(lab, "tier1-2-bb")))
    assert len((lab / "submitted").read_text().split()) == 2


def test_a_queue_that_does_not_answer_takes_no_job(lab: Path) -> None:
    (lab / "down").touch()
    with pytest.raises(Unreachable):
        asyncio.run(connect(lab).submit("tier1-1-aa", make(lab)))
    with pytest.raises(Unreachable):
        asyncio.run(connect(lab).look(["tier1-1-aa"], []))
    assert not (lab / "submitted").exists()


def test_what_became_of_jobs(lab: Path) -> None:
    queue, folder = connect(lab), lab / "home/tests-example.org"
    names = ["tier1-1-aa", "tier1-2-bb", "tier1-3-cc", "tier1-4-dd"]
    for name in names:
        asyncio.run(queue.submit(name, make(lab, name)))
    (folder / "tier1-1-aa/result.json").write_text('{"a": "ü\\n"}')
    (lab / "queue/tier1-1-aa").unlink()
    (lab / "queue/tier1-2-bb").write_text("tier1-2-bb 5 no such file or directory\n")
    (lab / "queue/tier1-3-cc").unlink()
    (folder / "tier1-3-cc/err").write_text("Traceback\nbad \x1b[2Jluck\n")
    (lab / "queue/drone").write_text("- 2 undefined\n- 1 undefined\n- 2 undefined\n")
    found = asyncio.run(queue.look(names, []))
    assert found.results == {"tier1-1-aa": '{"a": "ü\\n"}'.encode()}
    assert found.states == {"tier1-2-bb": (5, "no such file or directory"), "tier1-4-dd": (1, "undefined")}
    assert found.errors == {"tier1-3-cc": "Traceback bad �[2Jluck"} and found.drones == 2
    assert asyncio.run(queue.look([], names)) == View(drones=2)
    assert not [path for path in folder.iterdir() if path.is_dir()] and [path.name for path in (lab / "queue").iterdir()] == [
        "drone"
    ]


def test_a_site_that_says_too_much_or_nonsense(lab: Path) -> None:
    with pytest.raises(Unreachable, match="says more than"):
        asyncio.run(Queue(PLACE, ["sh", "-c", "cat /dev/zero"]).look([], []))
    with pytest.raises(Unreachable, match="Permission denied"):
        asyncio.run(Queue(PLACE, ["sh", "-c", "echo 'Permission denied' >&2; exit 255"]).look([], []))
    assert read("Welcome!\nqueue\nqueue a b c\nresult x !!\nqueue y 99999\n") == View(results={"x": b""})
