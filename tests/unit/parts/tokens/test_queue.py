"""Which jobs are held for want of a credential, and which are released."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from farmlet.parts.tokens import queue
from farmlet.parts.tokens.queue import Job


def test_jobs_go_by_what_is_stored(tmp_path: Path) -> None:
    folder = tmp_path / "ada"
    folder.mkdir()
    (folder / "farmlet.top").write_text('{"issuer": "i", "client_id": "c", "refresh_token": "r"}')
    (folder / "farmlet_in.top").write_text('{"of": "farmlet", "scopes": "storage.read:/"}')
    lines = ["1 0 ada 1 farmlet", "2 0 ada 5 farmlet,farmlet*in", "3 0 ada 2 farmlet farmlet*out", "4 1 bob 1 farmlet"]
    jobs = [Job.parse(line) for line in lines]
    assert jobs[1].services == ("farmlet", "farmlet_in") and jobs[3].number == "4.1"
    held, released = queue.sort(tmp_path, jobs)
    assert released == ["2.0"] and sorted(number for numbers in held.values() for number in numbers) == ["3.0", "4.1"]
    assert all("farmlet-credential" in reason for reason in held)
    # held already, and nothing has changed
    assert queue.sort(tmp_path, [Job.parse("4 1 bob 5 farmlet")]) == ({}, [])


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
