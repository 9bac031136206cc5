"""Workflows that run beside HTCondor's programs are found, with all that they started. Real ones are in the facility tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from farmlet.parts.access.adoption import SERVICE, find_strays

# pid, name, parent, owner, cgroup
TREE = [
    (10, "condor_schedd", 1, 0, SERVICE),
    (11, "condor_dagman", 10, 20001, SERVICE),
    (12, "a) script (", 11, 20001, SERVICE),
    (13, "sleep", 12, 20001, f"{SERVICE}/below"),
    (14, "condor_shadow", 10, 0, SERVICE),
    (15, "whatever", 10, 20002, SERVICE),  # of the scheduler universe, by another name
    (16, "condor_dagman", 10, 0, SERVICE),
    (17, "condor_dagman", 10, 20003, "user.slice/user-20003.slice"),
    (18, "sleep", 1, 20004, SERVICE),  # whose parents have ended
    (19, "condor_starter", 11, 20001, SERVICE),  # a script that calls itself so
    (20, "sleep", 19, 20001, SERVICE),
    (21, "condor_starter", 10, 0, SERVICE),
    (22, "job", 21, 20005, SERVICE),
    (23, "child", 22, 20005, SERVICE),
    (24, "orphan of a job", 1, 20005, f"{SERVICE}/htcondor/slot1_1@head"),
    (25, "a circle", 26, 20006, SERVICE),
    (26, "a circle", 25, 20006, SERVICE),
]


@pytest.fixture
def system(tmp_path: Path) -> Path:
    for pid, name, parent, owner, cgroup in TREE:
        process, group = tmp_path / "proc" / str(pid), tmp_path / "cgroup" / cgroup
        process.mkdir(parents=True)
        (process / "stat").write_text(f"{pid} ({name}) S {parent} 1 1 0\n")
        (process / "status").write_text(f"Name:\t{name}\nUid:\t{owner}\t0\t0\t0\nGid:\t5\n")
        group.mkdir(parents=True, exist_ok=True)
        with (group / "cgroup.procs").open("a") as stream:
            stream.write(f"{pid}\n")
    with (tmp_path / "cgroup" / SERVICE / "cgroup.procs").open("a") as stream:
        stream.write("99\n")  # that ended meanwhile
    return tmp_path


def test_what_is_of_members_and_no_job_is_found_whatever_its_name_and_parent(system: Path) -> None:
    found = find_strays(system / "cgroup", 20000, system / "proc")
    assert {uid: sorted(pids) for uid, pids in found.items()} == {
        20001: [11, 12, 13, 19, 20],
        20002: [15],
        20004: [18],
        20006: [25, 26],
    }


def test_a_node_without_a_queue_has_none(tmp_path: Path) -> None:
    assert find_strays(tmp_path, 20000) == {}


def test_a_process_that_calls_itself_by_no_text_hides_no_workflow(system: Path) -> None:
    """The guard would end with it, and start, and end again."""
    (system / "proc" / "12" / "stat").write_bytes(b"12 (\xff) 7 (\n) S 11 1 1 0\n")
    (system / "proc" / "15" / "status").write_bytes(b"Name:\t\xff\nUid:\t20002\t0\t0\t0\n")
    test_what_is_of_members_and_no_job_is_found_whatever_its_name_and_parent(system)
