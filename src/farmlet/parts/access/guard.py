"""Ends fork bombs on a log-in node, and brings workflows into their slices. Runs as root, standard library only.

A member's slice has a limit of tasks (see limits.py), which keeps the node alive but not quick: hundreds of processes that
try to fork all the time hold locks that every new session needs (measured: a log-in takes 10 to 40 s on two cores). The
kernel counts refused forks (cgroup file `pids.events`). A program that merely reaches its limit is refused some times and
gives up or waits, as shells do; only a bomb is refused thousands of times a second, and one look after another.

    python -m farmlet.parts.access.guard --first-uid 20000
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import signal
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from farmlet.parts.access.adoption import SERVICE, adopt, find_owner, find_strays, list_processes, read_below

# where a kernel with one hierarchy has the slices, and one with a hierarchy for each controller
ROOTS = (Path("/sys/fs/cgroup/user.slice"), Path("/sys/fs/cgroup/pids/user.slice"))
SLICE = re.compile(r"user-([0-9]+)\.slice")
REFUSED = re.compile(r"^max ([0-9]+)$", re.MULTILINE)
QUEUE = 0  # stands for jobs on the node's own slots and scripts of workflows: they are in HTCondor's own cgroup
SECONDS = 1.0  # between two looks
BOMB = 300  # refused forks from look to look
WORKFLOW = 128  # processes that a workflow has in the first second; more are a bomb
LOOKS = 2  # one look after another with so many
STIME = 12  # of the fields of /proc/PID/stat after the name (proc(5): 15)
ROUNDS, PAUSE = 100, 0.1  # of killing, and seconds between them
log = logging.getLogger("farmlet.guard")


def find_root() -> Path:
    """The folder of the members' slices that has their limits of tasks."""
    return next((root for root in ROOTS if (root / "pids.events").exists()), ROOTS[0])


def count(root: Path, first_uid: int) -> dict[int, int]:
    """Refused forks so far by member's uid, and beside HTCondor's programs (QUEUE).

    Kernels tell them at the limit or where the fork was tried: all are added up.
    """
    queue = root.parent / SERVICE
    folders = {QUEUE: queue} if queue.is_dir() else {}
    for folder in root.iterdir() if root.is_dir() else ():
        match = SLICE.fullmatch(folder.name)
        if match and int(match[1]) >= first_uid:
            folders[int(match[1])] = folder
    return {uid: sum(map(_refused, read_below(folder, "pids.events"))) for uid, folder in folders.items()}


def _refused(text: str) -> int:
    match = REFUSED.search(text)
    return int(match[1]) if match else 0


class Watch:
    """Tells bombs from look to look; `see` takes what `count` found and returns the uids that are one."""

    def __init__(self) -> None:
        self._before: Mapping[int, int] = {}
        self._looks: dict[int, int] = {}

    def see(self, counts: Mapping[int, int]) -> list[int]:
        many = {uid for uid, refused in counts.items() if refused - self._before.get(uid, refused) >= BOMB}
        self._before = counts
        self._looks = {uid: self._looks.get(uid, 0) + 1 for uid in many}
        return sorted(uid for uid, looks in self._looks.items() if looks >= LOOKS)


def end(folder: Path, rounds: int = ROUNDS) -> int:
    """Kill all that is in a slice, whatever it forks; returns how many processes were there.

    No new processes may start meanwhile; afterwards the limit is what it was before.
    """
    limit = folder / "pids.max"
    before = limit.read_text()
    limit.write_text("0")
    try:
        found: set[int] = set()
        for _ in range(rounds):
            pids = set(list_processes(folder))
            if not pids:
                break
            found |= pids
            send(pids, signal.SIGKILL)
            time.sleep(PAUSE)
        return len(found)
    finally:
        limit.write_text(before)


def end_forker(folder: Path, uid: int, rounds: int = ROUNDS) -> int:
    """Kill what is a member's in a cgroup that is shared with others; returns how many processes were there.

    All are stopped first: who cannot run cannot fork, and others there can all the while.
    """
    found: set[int] = set()
    for _ in range(rounds):
        stopped: set[int] = set()
        while new := set(_owned(folder).get(uid, ())) - stopped:
            send(new, signal.SIGSTOP)
            stopped |= new
        if not stopped:
            break
        found |= stopped
        send(stopped, signal.SIGKILL)
        time.sleep(PAUSE)
    return len(found)


def send(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _owned(folder: Path, proc: Path = Path("/proc")) -> dict[int, list[int]]:
    """The processes there by the uid of whose they are."""
    found: dict[int, list[int]] = defaultdict(list)
    for pid in list_processes(folder):
        with suppress(OSError, IndexError):  # it ended meanwhile
            found[find_owner(proc / str(pid))].append(pid)
    return found


def find_forker(folder: Path, first_uid: int, proc: Path = Path("/proc")) -> int | None:
    """The member of whom most processes there are new or were busy in the kernel for a moment: those of a bomb do nothing but
    fork, while somebody may have many that wait."""
    before = _measure(folder, proc)
    time.sleep(3 * PAUSE)
    busy = dict.fromkeys(_owned(folder, proc), 0)
    for (uid, pid), spent in _measure(folder, proc).items():
        busy[uid] = busy.get(uid, 0) + (spent != before.get((uid, pid)))
    return max((uid for uid in busy if uid >= first_uid), key=busy.__getitem__, default=None)


def _measure(folder: Path, proc: Path) -> dict[tuple[int, int], int]:
    """What each process there has had of the kernel's time, in ticks, by owner and pid."""
    found = {}
    for uid, pids in _owned(folder, proc).items():
        for pid in pids:
            with suppress(OSError, IndexError):
                found[uid, pid] = int((proc / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()[STIME])
    return found


def end_bomb(root: Path, uid: int, first_uid: int) -> None:
    """End the bomb in a member's slice, or beside HTCondor's programs (`uid` QUEUE), where it is of who forks most there."""
    if uid != QUEUE:
        ended = end(root / f"user-{uid}.slice")
        log.warning("uid %s: a fork bomb; ended all %s processes of their sessions", uid, ended)
    elif forker := find_forker(root.parent / SERVICE, first_uid):
        stop_bomb(root.parent / SERVICE, forker)


def stop_bomb(folder: Path, uid: int) -> None:
    log.warning("uid %s: a fork bomb in a job or workflow; ended %s processes", uid, end_forker(folder, uid))


def main() -> None:
    parser = argparse.ArgumentParser(description="end fork bombs of members")
    parser.add_argument("--first-uid", type=int, required=True)
    first_uid = parser.parse_args().first_uid
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    root, watch = find_root(), Watch()
    while True:
        for uid, pids in find_strays(root.parent, first_uid).items():
            if len(pids) > WORKFLOW:
                stop_bomb(root.parent / SERVICE, uid)
            elif fault := adopt(uid, pids):
                log.warning("uid %s: workflow %s stays outside of its slice: %s", uid, pids[0], fault)
        for uid in watch.see(count(root, first_uid)):
            with suppress(FileNotFoundError):
                end_bomb(root, uid, first_uid)
        time.sleep(SECONDS)


if __name__ == "__main__":
    main()
