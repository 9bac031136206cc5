"""Brings workflows into their owners' slices. Runs as root, as part of the guard; standard library only.

HTCondor starts `condor_dagman`, the scripts of its workflow and whatever else the scheduler universe runs beside its own programs
on the access point: outside of the limits that hold for all else of a member there.
"""

from __future__ import annotations

import os
import subprocess
from collections import defaultdict
from collections.abc import Iterator, Mapping, Set
from contextlib import suppress
from pathlib import Path

from farmlet.facility.places import SESSION_UNIT

STARTER = b"condor_starter"  # above a job, which has limits of its own; it runs as root
SLOTS = "*slot*"  # the cgroups of jobs, where there are any
SERVICE = "system.slice/condor.service"
BUS = ("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager")


def find_strays(root: Path, first_uid: int, proc: Path = Path("/proc")) -> dict[int, list[int]]:
    """What runs of members in HTCondor's own cgroup, below `root`, and is no job: pids by uid.

    By whose they are, and not by name or parent: names can be changed, and who starts a process may end before it does.
    """
    jobs = {pid for folder in (root / SERVICE).rglob(SLOTS) for pid in list_processes(folder)}
    parents: dict[int, int] = {}
    strays: dict[int, int] = {}
    for pid in list_processes(root / SERVICE):
        with suppress(OSError, IndexError):  # a process that ends meanwhile
            # a process may call itself by any bytes
            name, _, rest = (proc / str(pid) / "stat").read_bytes().partition(b"(")[2].rpartition(b")")
            parents[pid] = int(rest.split()[1])
            if (uid := find_owner(proc / str(pid))) >= first_uid:
                strays[pid] = uid
            elif name == STARTER:
                jobs.add(pid)
    found: dict[int, list[int]] = defaultdict(list)
    for pid, uid in strays.items():
        if not _is_below(pid, parents, jobs):
            found[uid].append(pid)
    return dict(found)


def list_processes(folder: Path) -> Iterator[int]:
    """The pids in a cgroup and all below it."""
    for text in read_below(folder, "cgroup.procs"):
        yield from map(int, text.split())


def read_below(folder: Path, name: str) -> Iterator[str]:
    """The files of that name in a cgroup and all below it, of which some may end meanwhile."""
    for path, _, names in os.walk(folder):
        if name in names:
            try:
                text = Path(path, name).read_text()
            except OSError:
                continue
            yield text


def find_owner(process: Path) -> int:
    """The real uid of a process. The owner of its folder is root's for a program that says so (PR_SET_DUMPABLE)."""
    return int((process / "status").read_bytes().partition(b"\nUid:")[2].split()[0])


def _is_below(pid: int, parents: Mapping[int, int], above: Set[int]) -> bool:
    """Whether a process is one of `above`, or one of those started it, or what started it."""
    seen = set()
    while pid in parents and pid not in above and pid not in seen:
        seen.add(pid)
        pid = parents[pid]
    return pid in above


def adopt(uid: int, pids: list[int]) -> str:
    """Have systemd put processes into the slice of a member; what it says if it does not, or ""."""
    unit = f"farmlet-workflow-{uid}-{pids[0]}.scope"
    session = SESSION_UNIT.format(uid=uid)
    properties = ["4", "PIDs", "au", str(len(pids)), *map(str, pids), "Slice", "s", f"user-{uid}.slice"]
    # a token for its scripts, as sessions have one, from the beginning on; where there are none, that is no matter
    properties += ["Wants", "as", "1", session, "After", "as", "1", session]
    command = ["busctl", "--quiet", "call", *BUS, "StartTransientUnit", "ssa(sv)a(sa(sv))", unit, "fail", *properties, "0"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except subprocess.TimeoutExpired:
        return "no answer"
    return done.stderr.strip() or f"busctl ended with {done.returncode}" if done.returncode else ""
