"""The guard of a log-in node tells bombs from programs that reach their limit. Real bombs are in the facility tests."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest

from farmlet.parts.access.adoption import SERVICE, list_processes
from farmlet.parts.access.guard import BOMB, QUEUE, Watch, count, end, end_forker, find_forker


def refuse(root: Path, name: str, refused: int) -> None:
    (root / name).mkdir(parents=True, exist_ok=True)
    (root / name / "pids.events").write_text(f"max {refused}\n")


def test_refused_forks_are_counted_by_member(tmp_path: Path) -> None:
    refuse(tmp_path, "user-20001.slice", 3)
    refuse(tmp_path, "user-20001.slice/session-4.scope", 40)
    refuse(tmp_path, "user-20001.slice/user@20001.service/app.slice", 500)
    refuse(tmp_path, "user-0.slice", 7000)
    refuse(tmp_path, "other.slice", 7000)
    (tmp_path / "user-20002.slice").mkdir()
    assert count(tmp_path, 20000) == {20001: 543, 20002: 0}
    assert count(tmp_path / "gone", 20000) == {}


def test_a_bomb_is_refused_look_after_look() -> None:
    watch = Watch()
    assert watch.see({20001: 0, 20002: 90 * BOMB}) == [], "what was before the guard began does not count"
    assert watch.see({20001: BOMB, 20002: 90 * BOMB}) == []
    assert watch.see({20001: 2 * BOMB, 20002: 90 * BOMB}) == [20001]


def test_who_reaches_the_limit_once_is_left_alone() -> None:
    watch = Watch()
    watch.see({20001: 0})
    for refused in (5 * BOMB, 5 * BOMB + 1, 9 * BOMB, 9 * BOMB, 9 * BOMB + BOMB - 1):
        assert watch.see({20001: refused}) == []


def test_a_session_that_is_new_brings_no_old_counts() -> None:
    watch = Watch()
    for _ in range(4):
        assert watch.see({}) == []
        assert watch.see({20001: 4 * BOMB}) == []


def test_the_end_takes_all_of_a_slice_and_leaves_the_limit_as_it_was(tmp_path: Path) -> None:
    processes = [subprocess.Popen(["sleep", "60"]) for _ in range(2)]
    (tmp_path / "pids.max").write_text("512\n")
    (tmp_path / "cgroup.procs").write_text(f"{processes[0].pid}\n")
    (tmp_path / "session-4.scope").mkdir()
    (tmp_path / "session-4.scope" / "cgroup.procs").write_text(f"{processes[1].pid}\n")
    assert end(tmp_path, rounds=1) == 2
    assert [process.wait(10) for process in processes] == [-9, -9]
    assert (tmp_path / "pids.max").read_text() == "512\n"


def test_refused_forks_beside_the_queues_programs_are_told_apart(tmp_path: Path) -> None:
    refuse(tmp_path / "user.slice", "user-20001.slice", 3)
    refuse(tmp_path, SERVICE, 70)
    refuse(tmp_path, f"{SERVICE}/leaf", 7)
    assert count(tmp_path / "user.slice", 20000) == {20001: 3, QUEUE: 77}


def test_what_ends_while_it_is_looked_at_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, refused in (("", 70), ("job", 7)):
        refuse(tmp_path / SERVICE, name, refused)
        (tmp_path / SERVICE / name / "cgroup.procs").write_text(f"{refused}\n")
    real = Path.read_text

    def read(path: Path) -> str:
        if path.parent.name == "job":
            raise OSError(errno.ENODEV, "No such device")
        return real(path)

    monkeypatch.setattr(Path, "read_text", read)
    assert count(tmp_path / "user.slice", 20000) == {QUEUE: 70}
    assert list(list_processes(tmp_path / SERVICE)) == [70]


def write_process(proc: Path, pid: int, owner: int, ticks: int) -> None:
    (proc / str(pid)).mkdir(parents=True, exist_ok=True)
    (proc / str(pid) / "status").write_text(f"Name:\tx\nUid:\t{owner}\t0\t0\t0\n")
    (proc / str(pid) / "stat").write_text(f"{pid} (a) b (c) S 1 1 1 0 -1 4194304 0 0 0 0 7 {ticks} 0 0 20 0 1 0 99\n")


def test_there_it_is_of_who_forks_and_not_of_who_has_most_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proc, procs = tmp_path / "proc", tmp_path / "cgroup" / "cgroup.procs"
    procs.parent.mkdir()
    waiting, busy, bomb = range(100, 150), range(200, 201), range(300, 305)
    for pids, owner in ((range(10, 30), 0), (waiting, 20001), (busy, 20003), (bomb, 20002)):
        for pid in pids:
            write_process(proc, pid, owner, 5)

    def look(seconds: float) -> None:
        write_process(proc, 200, 20003, 30)
        for pid in (*bomb[:2], 400, 401):
            write_process(proc, pid, 20002, 6)
        procs.write_text(procs.read_text() + "400\n401\n")

    procs.write_text("".join(f"{pid}\n" for pid in (9, *range(10, 30), *waiting, *busy, *bomb)))
    monkeypatch.setattr("farmlet.parts.access.guard.time.sleep", look)
    assert find_forker(tmp_path / "cgroup", 20000, proc) == 20002
    assert find_forker(tmp_path / "cgroup", 30000, proc) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="starts processes of somebody else")
def test_its_end_is_nobody_elses(tmp_path: Path) -> None:
    """Real processes, some of them another's; nobody's forks are refused meanwhile."""
    uid = 61234
    mine = [subprocess.Popen(["sh", "-c", "while :; do sleep 0.01; done"], user=uid) for _ in range(3)]
    other = subprocess.Popen(["sleep", "60"])
    (tmp_path / "pids.max").write_text("512\n")

    (tmp_path / "cgroup.procs").write_text("".join(f"{one.pid}\n" for one in (*mine, other)))
    try:
        before = (tmp_path / "pids.max").stat().st_mtime_ns
        assert end_forker(tmp_path, uid, rounds=1) == 3
        assert [one.wait(10) for one in mine] == [-9] * 3 and other.poll() is None
        assert (tmp_path / "pids.max").stat().st_mtime_ns == before
    finally:
        other.kill()
        other.wait()
