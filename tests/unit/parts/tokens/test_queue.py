"""Which jobs are held for want of a credential, and which are released."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from farmlet.parts.tokens import queue
from farmlet.parts.tokens.queue import Job

# as HTCondor 23.9 says it: expressions are texts with /Expr(…)/, and a byte that is not UTF-8 stays as it is
ODD = [
    '"farmlet\\n1 0 ada 5 farmlet"',
    '""',
    f'"{"x" * 300}"',
    '"%s"',
    '"../ada/farmlet"',
    r'"\/Expr(strcat(\"farm\",\"let\"))\/"',
    "5",
    "null",
    '["farmlet"]',
    '"\xff\\u0001"',
]


def describe(line: str) -> str:
    """A job of `condor_q -json`."""
    cluster, process, owner, status, services = line.split(maxsplit=4)
    return (
        f'{{\n  "ClusterId": {cluster},\n  "JobStatus": {status},\n  "OAuthServicesNeeded": {services},\n'
        f'  "Owner": {json.dumps(owner)},\n  "ProcId": {process}\n}}\n'
    )


def parse(line: str) -> Job:
    return Job.parse(json.loads(describe(line)))


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with HTCondor's commands: `condor_q` says what is in `jobs`, what the others were told is in `told`."""
    folder = tmp_path / "programs"
    folder.mkdir()
    (folder / "jobs").write_bytes(b"")
    scripts = {"condor_q": f'cat "{folder}/jobs"'}
    for name in ("condor_hold", "condor_release"):
        scripts[name] = f'echo {name} "$@" >> "{folder}/told"; case "$*" in *" 9.9"*) echo gone >&2; exit 1; esac'
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def fill(programs: Path, *lines: str) -> None:
    text = "[\n" + ",\n".join(describe(line) for line in lines) + "]\n"
    (programs / "jobs").write_bytes(text.encode("latin-1"))


def told(programs: Path) -> list[str]:
    found = programs / "told"
    return found.read_text().splitlines() if found.exists() else []


def test_jobs_go_by_what_is_stored(tmp_path: Path) -> None:
    folder = tmp_path / "ada"
    folder.mkdir()
    (folder / "farmlet.top").write_text('{"issuer": "i", "client_id": "c", "refresh_token": "r"}')
    (folder / "farmlet_in.top").write_text('{"of": "farmlet", "scopes": "storage.read:/"}')
    words = ['1 0 ada 1 "farmlet"', '2 0 ada 5 "farmlet,farmlet*in"', '3 0 ada 2 "farmlet farmlet*out"', '4 1 bob 1 "farmlet"']
    jobs = [parse(line) for line in words]
    assert jobs[1].services == ("farmlet", "farmlet_in") and jobs[3].number == "4.1"
    (folder / "farmlet.use").write_text("a token")
    assert queue.sort(tmp_path, jobs)[1] == [], "HTCondor would hold it again at its start"
    (folder / "farmlet_in.use").write_text("a token")
    held, released = queue.sort(tmp_path, jobs)
    assert released == ["2.0"] and sorted(number for numbers in held.values() for number in numbers) == ["3.0", "4.1"]
    assert all("farmlet-credential" in reason for reason in held)
    # held already, and nothing has changed
    assert queue.sort(tmp_path, [parse('4 1 bob 5 "farmlet"')]) == ({}, [])


def test_an_empty_queue_is_none(tmp_path: Path, programs: Path, caplog: pytest.LogCaptureFixture) -> None:
    queue.settle(tmp_path)
    assert not told(programs) and not caplog.text


@pytest.mark.timeout(20)
def test_what_one_member_writes_into_a_job_is_nothing_to_the_others(
    tmp_path: Path, programs: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor is it opened: as root the monitor would wait for the other end of a FIFO of the member's."""
    os.mkfifo(tmp_path / "trap.top")
    odd = [text.replace("%s", str(tmp_path / "trap")) for text in ODD]
    lines = [f"{number} 0 eve {status} {text}" for number, text in enumerate(odd, 10) for status in (1, 5)]
    owners = ('1 1 ../x 1 "farmlet"', '1 2 . 1 "farmlet"', '1 3 / 5 "farmlet"', f'1 4 {"o" * 300} 1 "farmlet"')
    (tmp_path / "ada").mkdir()
    (tmp_path / "ada" / "farmlet.use").write_text("a token")
    fill(programs, *lines, *owners, '2 0 bob 1 "farmlet"', '2 1 ada 5 "farmlet"', '1 0 ada 1 "farmlet"')
    settled = threading.Thread(target=queue.settle, args=(tmp_path,), daemon=True)
    settled.start()
    settled.join(10)
    assert not settled.is_alive()
    release, hold = told(programs)
    # 10.0 names services, odd ones, which eve stored nothing for
    assert hold.startswith("condor_hold -reason There is no credential for farmlet") and hold.endswith("-subcode 7002 10.0 2.0")
    assert release == "condor_release 2.1"
    assert caplog.text.count("are left alone") == 1 and "Expr" not in caplog.text


def test_a_folder_that_cannot_be_read_keeps_no_others_from_being_settled(
    tmp_path: Path, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = queue.find_fault

    def find_fault(folder: Path, service: str) -> str:
        if folder.name == "eve":
            raise OSError(5, "Input/output error")
        return real(folder, service)

    monkeypatch.setattr(queue, "find_fault", find_fault)
    fill(programs, '1 0 eve 1 "farmlet"', '1 1 eve 5 "farmlet"', '2 0 bob 1 "farmlet"')
    queue.settle(tmp_path)
    assert [line.rpartition(" ")[2] for line in told(programs)] == ["2.0"]


def test_a_job_that_has_just_left_keeps_no_others_from_being_settled(tmp_path: Path, programs: Path) -> None:
    (tmp_path / "ada").mkdir()
    (tmp_path / "ada" / "farmlet.use").write_text("a token")
    fill(programs, '9 9 bob 1 "gone"', '2 0 bob 1 "farmlet"', '3 0 ada 5 "farmlet"')
    queue.settle(tmp_path)
    assert [line.rpartition(" ")[2] for line in told(programs)] == ["3.0", "9.9", "2.0"]


def test_the_issuers_reason_is_told_and_the_last_token_used_up(tmp_path: Path) -> None:
    note = {"reason": "https://i/token: invalid_grant: it\x1b[31m ended", "at": "now"}
    (tmp_path / "farmlet.refused").write_text(json.dumps(note))
    (tmp_path / "farmlet_in.top").write_text('{"of": "farmlet", "scopes": "storage.read:/"}')
    for service in ("farmlet", "farmlet_in"):
        said = queue.find_fault(tmp_path, service)
        assert "invalid_grant: it[31m ended" in said and f"no credential for {service} any more" in said
        (tmp_path / f"{service}.use").write_text("the last one")
        assert queue.find_fault(tmp_path, service) == ""


def test_without_a_queue_nothing_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    queue.settle(tmp_path)
    assert "condor_q" in caplog.text


def test_an_answer_that_is_none_is_told(tmp_path: Path, programs: Path, caplog: pytest.LogCaptureFixture) -> None:
    for text in (b"-- Failed to fetch ads", b"[1]", b"5"):
        (programs / "jobs").write_bytes(text)
        queue.settle(tmp_path)
    assert not told(programs) and caplog.text.count("cannot be read") == 2


def test_one_members_jobs_cost_a_few_commands_and_come_in_turns(
    tmp_path: Path, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    eve = [f'{number} 0 eve 1 "farmlet*{number}"' for number in range(1, 400)]
    fill(programs, *eve, *(f'{number} 0 eve 1 "farmlet"' for number in range(1000, 1010)), '5000 0 bob 1 "farmlet"')
    assert queue.settle(tmp_path) is False
    commands = [line.split(" -subcode 7002 ") for line in told(programs)]
    assert len(commands) <= queue.REASONS + 2
    assert next(jobs for reason, jobs in commands if "5000.0" in jobs).split().index("5000.0") < 2, "bob waits for all of eve's"
    # more kinds of jobs than are looked up in one pass
    assert len(" ".join(jobs for _, jobs in commands).split()) <= queue.KINDS + 11
    monkeypatch.setattr(queue, "SLICE", 0)
    (programs / "told").unlink()
    assert queue.settle(tmp_path) is True and len(told(programs)) == 1
