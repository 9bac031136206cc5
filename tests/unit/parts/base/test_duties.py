"""Duties are merged from files; a broken file is told and does not hide the others."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from farmlet.errors import FarmletError
from farmlet.parts.base import agent, duties


def test_files_are_merged_and_broken_ones_told(tmp_path: Path) -> None:
    spec = {"path": "/etc/x", "mode": "0600", "then": ["reload", "x"]}
    (tmp_path / "a.json").write_text(json.dumps({"deliver": {"token": spec}, "publish": {"key": "/etc/key.pub"}}))
    (tmp_path / "b.json").write_text("{")
    (tmp_path / "c.json").write_text(json.dumps({"checks": [{"name": "p.r.c", "call": "m:f", "args": {"n": 1}}]}))
    found = duties.load(tmp_path)
    assert found.deliver["token"] == duties.Delivery(Path("/etc/x"), 0o600, "root", "root", (("reload", "x"),))
    assert found.publish == {"key": Path("/etc/key.pub")}
    assert [check.name for check in found.checks] == ["p.r.c"]
    assert len(found.faults) == 1
    assert "b.json" in found.faults[0]


def test_a_change_of_any_file_changes_the_signature(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("{}")
    before = duties.sign(tmp_path)
    assert duties.sign(tmp_path) == before
    os.utime(path, ns=(1, 1))
    assert duties.sign(tmp_path) != before


def test_a_function_that_is_not_there_is_told() -> None:
    with pytest.raises(FarmletError, match="no function nowhere:nothing"):
        duties.Call("x", "nowhere:nothing").resolve()


def passing(text: str) -> str:
    return text


def failing() -> str:
    from farmlet.runtime.checks import Failed

    raise Failed("as it should")


def breaking() -> str:
    raise ZeroDivisionError("oops")


def test_checks_tell_their_evidence_whatever_happens() -> None:
    here = __name__
    calls = [
        duties.Call("a", f"{here}:passing", {"text": "fine"}),
        duties.Call("b", f"{here}:failing"),
        duties.Call("c", f"{here}:breaking"),
        duties.Call("d", f"{here}:passing"),
    ]
    results = agent.Examiner().examine(calls)
    assert [result["ok"] for result in results] == [True, False, False, False]
    assert results[0]["evidence"] == "fine"
    assert results[1]["evidence"] == "as it should"
    assert "ZeroDivisionError: oops" in results[2]["evidence"]
    assert "TypeError" in results[3]["evidence"]


def test_names_choose_checks_by_part(tmp_path: Path) -> None:
    call = f"{__name__}:failing"
    names = ["base.hub.unit", "base.hubs", "batch.access"]
    (tmp_path / "checks.json").write_text(json.dumps({"checks": [{"name": name, "call": call} for name in names]}))
    assert [result["check"] for result in agent.check(tmp_path, ["base.hub"])] == ["base.hub.unit"]
    assert len(agent.check(tmp_path, [])) == 3


def test_a_command_that_failed_is_run_again_and_a_done_one_not(tmp_path: Path) -> None:
    import grp
    import pwd

    owner, group = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name
    log, gate, target = tmp_path / "log", tmp_path / "gate", tmp_path / "deep" / "token"
    then = (("sh", "-c", f"echo run >> {log}; test -e {gate}"),)
    delivery = duties.Delivery(target, 0o600, owner, group, then)
    wanted = duties.Duties({}, {"token": delivery}, {}, ())
    executor = agent.Executor(agent.Ledger(tmp_path / "state" / "done.json"))
    assert len(executor.work({"token": b"x"}, wanted)) == 1
    assert target.read_bytes() == b"x"
    assert target.stat().st_mode & 0o777 == 0o600
    gate.touch()
    # a new agent after a kill knows from the ledger that the command is still owed, and later that it is done
    for _ in range(2):
        assert agent.Executor(agent.Ledger(tmp_path / "state" / "done.json")).work({"token": b"x"}, wanted) == []
    assert log.read_text().count("run") == 2
    target.unlink()
    assert executor.work({"token": b"x"}, wanted) == []
    assert target.read_bytes() == b"x"


def test_several_parts_may_apply_one_item_and_what_looks_again_comes_last(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"apply": {"accounts": {"call": "m:sweep", "again": True}}}))
    (tmp_path / "b.json").write_text(json.dumps({"apply": {"accounts": {"call": "m:hold", "args": {"n": 1}}}}))
    found = duties.load(tmp_path).apply
    assert [(call.name, call.target, call.again) for call in found] == [
        ("accounts", "m:hold", False),
        ("accounts", "m:sweep", True),
    ]


seen: list[str] = []


def once(data: bytes) -> None:
    seen.append("once")


def anew(data: bytes) -> None:
    seen.append("anew")


def test_what_is_to_look_again_is_called_each_time(tmp_path: Path) -> None:
    calls = (duties.Call("x", f"{__name__}:once"), duties.Call("x", f"{__name__}:anew", again=True))
    executor = agent.Executor(agent.Ledger(tmp_path / "done.json"))
    wanted = duties.Duties({}, {}, calls, ())
    for data in (b"1", b"1", b"2"):
        assert executor.work({"x": data}, wanted) == []
    assert seen == ["once", "anew", "anew", "once", "anew"]
