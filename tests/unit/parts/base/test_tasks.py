"""Tasks are merged from files; a broken file is told and does not hide the others."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from farmlet.errors import FarmletError
from farmlet.parts.base import agent, examiner, tasks


def test_files_are_merged_and_broken_ones_told(tmp_path: Path) -> None:
    spec = {"path": "/etc/x", "mode": "0600", "then": [["reload", "x"]]}
    (tmp_path / "a.json").write_text(json.dumps({"deliver": {"token": spec}, "publish": {"key": "/etc/key.pub"}}))
    (tmp_path / "b.json").write_text("{")
    checks = [{"name": "p.r.c", "call": "m:f", "args": {"n": 1}, "seconds": 30}, {"name": "p.r.d", "call": "m:f"}]
    (tmp_path / "c.json").write_text(json.dumps({"checks": checks}))
    found = tasks.load(tmp_path)
    assert found.deliver["token"] == tasks.Delivery(Path("/etc/x"), 0o600, "root", "root", (("reload", "x"),))
    assert found.publish == {"key": Path("/etc/key.pub")}
    assert [(check.name, check.seconds) for check in found.checks] == [("p.r.c", 30), ("p.r.d", tasks.CHECK_SECONDS)]
    assert len(found.faults) == 1
    assert "b.json" in found.faults[0]


def test_a_change_of_any_file_changes_the_signature(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("{}")
    before = tasks.sign(tmp_path)
    assert tasks.sign(tmp_path) == before
    os.utime(path, ns=(1, 1))
    assert tasks.sign(tmp_path) != before


def test_a_function_that_is_not_there_is_told() -> None:
    with pytest.raises(FarmletError, match="no function nowhere:nothing"):
        tasks.Call("x", "nowhere:nothing").resolve()


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
        tasks.Call("a", f"{here}:passing", {"text": "fine"}),
        tasks.Call("b", f"{here}:failing"),
        tasks.Call("c", f"{here}:breaking"),
        tasks.Call("d", f"{here}:passing"),
    ]
    results = examiner.Examiner().examine(calls)
    assert [result["ok"] for result in results] == [True, False, False, False]
    assert results[0]["evidence"] == "fine"
    assert results[1]["evidence"] == "as it should"
    assert "ZeroDivisionError: oops" in results[2]["evidence"]
    assert "TypeError" in results[3]["evidence"]


gate = threading.Event()
begun: list[str] = []


def hanging(name: str) -> str:
    begun.append(name)
    gate.wait(30)
    return "late"


def test_a_check_that_hangs_costs_only_itself() -> None:
    """More hang than run at the same time: the others have their own answers, in that round and in the next."""
    gate.clear()
    begun.clear()
    hung = [tasks.Call(f"hung{n}", f"{__name__}:hanging", {"name": f"hung{n}"}, seconds=0.2) for n in range(examiner.BESIDE + 2)]
    calls = [*hung, tasks.Call("last", f"{__name__}:passing", {"text": "fine"})]
    running = examiner.Examiner()
    for said in ("no answer within 0.2 s", "still no answer, though it had 0.2 s: it hangs"):
        results = {result["check"]: result for result in running.examine(calls)}
        assert results["last"]["ok"] and results["last"]["evidence"] == "fine"
        assert {results[call.name]["evidence"] for call in hung} == {said}
    assert sorted(begun) == sorted(call.name for call in hung), "none was started a second time"
    gate.set()
    until(lambda: all(result["ok"] for result in running.examine(calls)))


def test_a_slow_check_has_its_own_deadline() -> None:
    gate.clear()
    begun.clear()
    threading.Timer(0.5, gate.set).start()
    slow = tasks.Call("slow", f"{__name__}:hanging", {"name": "slow"}, seconds=20)
    quick = tasks.Call("quick", f"{__name__}:hanging", {"name": "quick"}, seconds=0.1)
    results = examiner.Examiner().examine([quick, slow])
    assert [(result["ok"], result["evidence"]) for result in results] == [(False, "no answer within 0.1 s"), (True, "late")]


def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_names_choose_checks_by_part(tmp_path: Path) -> None:
    call = f"{__name__}:failing"
    names = ["base.control.unit", "base.controls", "batch.access"]
    (tmp_path / "checks.json").write_text(json.dumps({"checks": [{"name": name, "call": call} for name in names]}))
    assert [result["check"] for result in agent.check(tmp_path, ["base.control"])] == ["base.control.unit"]
    assert len(agent.check(tmp_path, [])) == 3


def test_a_command_that_failed_is_run_again_and_a_done_one_not(tmp_path: Path) -> None:
    import grp
    import pwd

    owner, group = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name
    log, gate, target = tmp_path / "log", tmp_path / "gate", tmp_path / "deep" / "token"
    then = (("sh", "-c", f"echo run >> {log}; test -e {gate}"),)
    delivery = tasks.Delivery(target, 0o600, owner, group, then)
    wanted = tasks.Tasks({}, {"token": delivery}, {}, ())
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
    found = tasks.load(tmp_path).apply
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
    calls = (tasks.Call("x", f"{__name__}:once"), tasks.Call("x", f"{__name__}:anew", again=True))
    executor = agent.Executor(agent.Ledger(tmp_path / "done.json"))
    wanted = tasks.Tasks({}, {}, calls, ())
    for data in (b"1", b"1", b"2"):
        assert executor.work({"x": data}, wanted) == []
    assert seen == ["once", "anew", "anew", "once", "anew"]


def test_evidence_is_what_people_can_be_shown() -> None:
    assert examiner.show("2 jobs\n of \x1b[2Jeve \ud800 at /é\u202e") == "2 jobs  of \ufffd[2Jeve \ufffd at /é\ufffd"
    assert len(examiner.show("x" * 10**6)) == examiner.LONGEST + 1
