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
    (14, "condor_shadow", 10, 20001, SERVICE),
    (15, "condor_dagman", 10, 20002, SERVICE),
    (16, "condor_dagman", 10, 0, SERVICE),
    (17, "condor_dagman", 10, 20003, "user.slice/user-20003.slice"),
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


def test_members_workflows_and_all_below_them_are_found(system: Path) -> None:
    found = find_strays(system / "cgroup", 20000, system / "proc")
    assert {uid: sorted(pids) for uid, pids in found.items()} == {20001: [11, 12, 13], 20002: [15]}


def test_a_node_without_a_queue_has_none(tmp_path: Path) -> None:
    assert find_strays(tmp_path, 20000) == {}
