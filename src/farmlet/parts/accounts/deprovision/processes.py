"""Deprovisioning on a node: what the agent does with the item `accounts`, again and again. Root, standard library only.

What runs for a member is found by its user ids: the member's own, and the 65536 that rootless containers of theirs use.
Files stay where they are.

    python -m farmlet.parts.accounts.deprovision.processes < UIDS    kill all processes of these user ids
"""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from farmlet.errors import FarmletError
from farmlet.runtime.files import rename, write
from farmlet.runtime.rows import FIRST_UID, read_members

SHIFT = 16  # a member's containers have the ids from `uid << 16` on: no two members share one, whatever the numbers
COUNT = 1 << SHIFT
ROUNDS, PAUSE = 40, 0.1  # how often processes are looked for before it is told that some resist, seconds between
SYSTEMCTL_SECONDS = 15
UIDS = re.compile(rb"^Uid:\t(\d+)\t(\d+)\t(\d+)\t(\d+)$", re.MULTILINE)
log = logging.getLogger("farmlet.agent")

_killed: set[int] = set()  # user ids that were killed as such since their members left


def close(data: bytes, first_uid: int = FIRST_UID) -> None:
    """Kill the sessions of members who are not active, at once; `apply` comes when their jobs have been given up in order."""
    gone = find_gone(data, first_uid)
    for uid in {uid for _, uid in find(gone)}:
        kill_slice(uid)


def find_gone(data: bytes, first_uid: int) -> dict[int, str]:
    """Names by uid of the members who are not active. `data` is the JSON list that the accounts daemon writes."""
    rows = read_members(data, first_uid)
    return {int(account["uid"]): str(account["name"]) for account in rows if account["state"] != "active"}


def apply(
    data: bytes, spool: str = "/var/spool/cron", linger: str = "/var/lib/systemd/linger", first_uid: int = FIRST_UID
) -> None:
    """End all that runs, or would begin to run, for members who are not active. Raises FarmletError for what resists.

    Log-in is refused before: the daemon tells the directory first. Crontabs are put aside and come back with the member;
    at jobs are gone.
    """
    gone = find_gone(data, first_uid)
    names = set(gone.values())
    _put_aside(Path(spool), names, {str(account["name"]) for account in read_members(data, first_uid)} - names)
    for path in _files(Path(spool) / "atjobs"):
        with suppress(FileNotFoundError):  # it has just begun, or was taken back
            if path.lstat().st_uid in gone:
                path.unlink()
    for path in _files(Path(linger)):
        if path.name in names:
            path.unlink(missing_ok=True)
    _killed.intersection_update(gone)
    running = {uid for _, uid in find(gone)}
    if new := running | (gone.keys() - _killed):
        end({uid: gone[uid] for uid in new}, running)
        _killed.update(new)
    if running:
        log.info("ended what ran for %s", ", ".join(sorted(gone[uid] for uid in running)))


def end(uids: Mapping[int, str], running: Iterable[int]) -> None:
    """Kill every process of these members (name by uid), some of whom are seen `running`.

    Raises FarmletError if there are processes after all rounds.
    """
    for uid in running:
        kill_slice(uid)
    left: list[tuple[int, int]] = []
    for _ in range(ROUNDS):
        kill(uids)
        left = list(find(uids))
        if not left:
            return
        # stopped ones make no more of themselves while the others are gone through
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid, _ in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
        time.sleep(PAUSE)
    told = ", ".join(f"{pid} of {uids[uid]}" for pid, uid in left[:5])
    raise FarmletError("processes", f"do not end: {told}", "in state D (`ps -o stat,wchan`) they wait for a disk")


def kill_slice(uid: int) -> None:
    """Kill a member's sessions and user services, with all that is in them: what forks faster than it is found as well."""
    for words in (("kill", "-s", "KILL"), ("stop", "--no-block")):
        with suppress(OSError, subprocess.TimeoutExpired):
            command = ["systemctl", *words, f"user-{uid}.slice"]
            subprocess.run(command, capture_output=True, timeout=SYSTEMCTL_SECONDS, check=False)


def kill(uids: Iterable[int]) -> None:
    """Kill all processes of these user ids: the kernel does it in one go, so that what forks all the time cannot run away."""
    command = [sys.executable, "-m", "farmlet.parts.accounts.deprovision.processes"]
    done = subprocess.run(command, input=" ".join(map(str, uids)), text=True, capture_output=True, timeout=60)
    if done.returncode:
        raise FarmletError("processes", f"cannot be killed: {done.stderr.strip()[-300:]}")


def find(uids: Container[int], proc: Path = Path("/proc")) -> Iterator[tuple[int, int]]:
    """Processes (pid, the member's uid) that run as one of `uids` or as one of their containers' ids. Zombies are none."""
    for entry in proc.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            status = (entry / "status").read_bytes()
        except OSError:
            continue
        found = UIDS.search(status)
        if found is None or b"\nState:\tZ" in status:
            continue
        for text in found.groups()[:3]:  # real, effective, saved
            owner = next((uid for uid in (int(text), int(text) >> SHIFT) if uid in uids), None)
            if owner is not None:
                yield int(entry.name), owner
                break


def _put_aside(spool: Path, gone: Container[str], back: Iterable[str]) -> None:
    """Crontabs of those who are gone go to `farmlet/` beside `crontabs/`; of those who are back, they return."""
    here, aside = spool / "crontabs", spool / "farmlet"
    for path in _files(here):
        if path.name in gone:
            aside.mkdir(mode=0o700, exist_ok=True)
            with suppress(FileNotFoundError):
                rename(path, aside / path.name)
    kept = {path.name: path for path in _files(aside)}
    for name in kept.keys() & set(back):
        if not (here / name).exists():
            rename(kept[name], here / name)
            os.utime(here)  # by which cron sees it


def _files(folder: Path) -> list[Path]:
    """The entries of a folder that may not be there: not every node has cron, at or logind."""
    try:
        return [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError:
        return []


def grant(data: bytes, first_uid: int, files: Iterable[str] = ("/etc/subuid", "/etc/subgid")) -> None:
    """Give each member who may log in the ids that rootless containers need (subuid(5)). Lines of others stay as they are."""
    members = {str(account["name"]) for account in read_members(data, first_uid)}
    wanted = [
        f"{account['name']}:{int(account['uid']) << SHIFT}:{COUNT}"
        for account in read_members(data, first_uid)
        if account["login"] and int(account["uid"]) < COUNT - 1
    ]
    for file in files:
        path = Path(file)
        lines = path.read_text().splitlines() if path.exists() else []
        kept = [line for line in lines if line.partition(":")[0] not in members]
        if lines != kept + wanted:
            write(path, "".join(f"{line}\n" for line in kept + wanted).encode(), 0o644)


def main() -> None:
    for uid in map(int, sys.stdin.read().split()):
        if uid:
            # real and effective: with root's as one of them, this would kill all of root's processes too
            os.setresuid(uid, uid, 0)
            if os.getresuid() != (uid, uid, 0):
                raise SystemExit(f"cannot become {uid}")
            with suppress(ProcessLookupError):
                os.kill(-1, signal.SIGKILL)
            os.setresuid(0, 0, 0)


if __name__ == "__main__":
    main()
