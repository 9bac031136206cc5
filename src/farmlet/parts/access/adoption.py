"""Brings workflows into their owners' slices. Runs as root, as part of the guard; standard library only.

HTCondor starts `condor_dagman`, and the scripts of its workflow, beside its own programs on the access point: outside of the
limits that hold for all else of a member there.
"""

from __future__ import annotations

import subprocess
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

PROGRAM = "condor_dagman"
SERVICE = "system.slice/condor.service"
BUS = ("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager")


def find_strays(root: Path, first_uid: int, proc: Path = Path("/proc")) -> dict[int, list[int]]:
    """Workflows of members that run in HTCondor's own cgroup, below `root`, and all that they started: pids by uid."""
    parents: dict[int, int] = {}
    strays: dict[int, int] = {}
    for pid in list_processes(root / SERVICE):
        with suppress(OSError):  # a process that ends meanwhile
            name, _, rest = (proc / str(pid) / "stat").read_text().partition("(")[2].rpartition(")")
            parents[pid] = int(rest.split()[1])
            if name == PROGRAM and (uid := find_owner(proc / str(pid))) >= first_uid:
                strays[pid] = uid
    found: dict[int, list[int]] = defaultdict(list)
    for pid in parents:
        if (workflow := _find_above(pid, parents, strays)) is not None:
            found[strays[workflow]].append(pid)
    return dict(found)


def list_processes(folder: Path) -> Iterator[int]:
    """The pids in a cgroup and all below it, which may go meanwhile."""
    for path in folder.rglob("cgroup.procs"):
        with suppress(OSError):
            yield from map(int, path.read_text().split())


def find_owner(process: Path) -> int:
    """The real uid of a process. The owner of its folder is root's for a program that says so (PR_SET_DUMPABLE)."""
    return int((process / "status").read_text().partition("\nUid:")[2].split()[0])


def _find_above(pid: int, parents: Mapping[int, int], wanted: Mapping[int, int]) -> int | None:
    """The first of `wanted` among a process and those above it."""
    while pid in parents:
        if pid in wanted:
            return pid
        pid = parents[pid]
    return None


def adopt(uid: int, pids: list[int]) -> str:
    """Have systemd put processes into the slice of a member; what it says if it does not, or ""."""
    unit = f"farmlet-workflow-{uid}-{pids[0]}.scope"
    properties = ["2", "PIDs", "au", str(len(pids)), *map(str, pids), "Slice", "s", f"user-{uid}.slice"]
    command = ["busctl", "--quiet", "call", *BUS, "StartTransientUnit", "ssa(sv)a(sa(sv))", unit, "fail", *properties, "0"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except subprocess.TimeoutExpired:
        return "no answer"
    return done.stderr.strip() or f"busctl ended with {done.returncode}" if done.returncode else ""
