#!/usr/bin/python3 -I
"""Runs at a site's submit host while jobs of ours are there: brings jobs to the queue, and tells what becomes of them.

It goes there on the command line of `ssh` and runs by whatever Python from 3.6 on is there: nothing but the standard library.
Questions come on standard input, each a line of JSON, and each has one answer, a line of JSON behind MARK; see `queue.Queue`.

An end is seen in the log that HTCondor keeps of each job, which costs nothing. The queue itself is asked when nothing has
happened for a while.
"""

import base64
import fcntl
import json
import os
import re
import select
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

MARK = "farmlet: "
STEP = 0.3  # seconds between looks at the logs
LONG = 6.0  # after which a question is answered though nothing has happened
QUIET = 60.0  # after which nobody is there who asks
LOCK = 20.0  # for a submission that an ended connection has left running
OLD = 2 * 86400  # after which folders go that nobody has taken away
RESULT = 8 * 1024 * 1024  # bytes of a result, and of all in one answer
# HTCondor manual: job ClassAd attribute JobStatus, and the numbers of events in a job's log
IDLE, RUNNING, ENDED, HELD = 1, 2, 4, 5
EVENTS = {
    "000": IDLE,
    "001": RUNNING,
    "004": IDLE,
    "005": ENDED,
    "007": IDLE,
    "009": ENDED,
    "012": HELD,
    "013": IDLE,
    "024": IDLE,
}
NAMED = 'ifThenElse(FarmletRun =?= undefined, "-", FarmletRun)'


class Trouble(Exception):
    """The queue cannot be used; the text says why."""


class Job:
    """A job that was submitted, by its log."""

    def __init__(self, name: str) -> None:
        self.name, self.state, self.reason = name, IDLE, ""
        self.read = 0  # bytes of the log

    def follow(self) -> None:
        try:
            with Path(self.name, "log").open("rb") as stream:
                stream.seek(self.read)
                events, end, _ = stream.read().rpartition(b"...\n")
        except OSError:
            return
        self.read += len(events + end)
        for code, reason in re.findall(r"^(\d{3}) \(.*\n(.*)", events.decode(errors="replace"), re.MULTILINE):
            if code in EVENTS:
                self.state, self.reason = EVENTS[code], reason.strip()


class Outpost:
    """`jobs`: those asked about. `drones`: other jobs of the account that run; `empty`: a job waits, and no machine is there."""

    def __init__(self) -> None:
        self.jobs = {}  # type: dict[str, Job]
        self.drones, self.empty = 0, False

    def submit(self, jobs: "dict[str, dict[str, str]]", runner: str) -> None:
        """Bring them to the queue, all at once, but for those that are or were there: they have the log that HTCondor writes."""
        with Path(".lock").open("a") as lock:
            claim(lock.fileno())
            there = call("condor_q", "-constraint", "FarmletRun =!= undefined", "-af", "FarmletRun").split()
            sweep()
            new = [name for name in jobs if name not in there and not Path(name, "log").exists()]
            for name in new:
                shutil.rmtree(name, ignore_errors=True)
                for path, content in jobs[name].items():
                    put(Path(name, path), base64.b64decode(content))
                put(Path(name, "runner.py"), runner.encode())
                Path(name, "runner.py").chmod(0o700)
            if new:
                put(Path("jobs.sub"), b"\n".join(read(Path(name, "job.sub")) for name in new))
                call("condor_submit", "-terse", "jobs.sub")

    def look(self, names: "list[str]", gone: "list[str]") -> None:
        """Follow these from now on. What is `gone` is taken away, with all it left."""
        left = [name for name in gone if name not in self.jobs or self.jobs[name].state != ENDED]
        if left:
            with suppress(Trouble):  # they are not there any more, most likely
                call("condor_rm", "-constraint", " || ".join(f'FarmletRun == "{name}"' for name in left))
        for name in gone:
            shutil.rmtree(name, ignore_errors=True)
        self.jobs = {name: self.jobs.get(name) or Job(name) for name in names}

    def has_news(self) -> bool:
        for job in self.jobs.values():
            job.follow()
        return not self.jobs or any(job.state in (ENDED, HELD) for job in self.jobs.values())

    def ask(self) -> None:
        """What the queue itself says: a job leaves it only when its result is there, or has no log that tells."""
        there, self.drones = {}, 0
        for line in call("condor_q", "-af", NAMED, "JobStatus", "HoldReason").splitlines():
            name, code, reason = (line + "  ").split(" ", 2)
            there[name] = (int(code) if code.isdigit() else IDLE, reason.strip())
            self.drones += name == "-" and code == str(RUNNING)
        for job in self.jobs.values():
            if job.state != ENDED:
                job.state, job.reason = there.get(job.name, (ENDED, ""))
        self.empty = False
        if any(job.state == IDLE for job in self.jobs.values()):  # no more than one, for a pool may be large
            with suppress(Trouble):
                self.empty = not call("condor_status", "-limit", "1", "-af", "Machine").strip()

    def answer(self) -> "dict[str, Any]":
        states, errors = {}, {}
        results, room = {}, RESULT  # type: dict[str, str], int
        for name, job in self.jobs.items():
            result = read(Path(name, "result.json"), RESULT) if job.state == ENDED else b""
            if job.state != ENDED:
                states[name] = (job.state, job.reason)
            elif results and len(result) > room:
                states[name] = (RUNNING, "")  # its turn comes with the next answer
            elif result:
                room -= len(result)
                results[name] = base64.b64encode(result).decode()
            else:
                errors[name] = read(Path(name, "err"))[-300:].decode(errors="replace")
        return {"states": states, "results": results, "errors": errors, "drones": self.drones, "empty": self.empty}


def call(*command: str) -> str:
    """What a command of HTCondor's says."""
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except OSError as error:
        raise Trouble(f"{command[0]}: {error.strerror}") from error
    said, complaint = (text.decode(errors="replace") for text in process.communicate())
    if process.returncode:
        raise Trouble((complaint.strip().splitlines() or [f"{command[0]} ended with {process.returncode}"])[-1])
    return said


def claim(lock: int) -> None:
    until = time.monotonic() + LOCK
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError as error:
            if time.monotonic() > until:
                raise Trouble("another submission of ours does not end") from error
            time.sleep(0.1)


def sweep() -> None:
    for entry in os.scandir():
        if entry.is_dir(follow_symlinks=False) and entry.stat().st_mtime < time.time() - OLD:
            shutil.rmtree(entry.path, ignore_errors=True)


def read(path: Path, most: int = 65536) -> bytes:
    """The beginning of a file; nothing of one that is not there."""
    try:
        with path.open("rb") as stream:
            return stream.read(most)
    except OSError:
        return b""


def put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def tell(answer: "dict[str, Any]") -> None:
    print(MARK + json.dumps(answer), flush=True)


def hear(outpost: Outpost, line: bytes) -> bool:
    """Do what is asked; whether its answer waits for news. A line with nothing in it asks for the answer now."""
    question = json.loads(line.decode()) if line else {}
    if "submit" in question:
        outpost.submit(question["submit"], question["runner"])
        tell({})
    elif question:
        outpost.look(question["names"], question["gone"])
        return True
    return False


def serve(outpost: Outpost) -> None:
    """Until nobody is there any more."""
    said, heard, waiting = b"", time.monotonic(), False
    while time.monotonic() - heard < QUIET:
        hurry = False
        if select.select([0], [], [], STEP if waiting else QUIET)[0]:
            data = os.read(0, 1 << 20)
            if not data:
                return
            said, heard = said + data, time.monotonic()
            *lines, said = said.split(b"\n") if b"\n" in data else [said]
            for line in lines:
                hurry = hurry or not line
                waiting = hear(outpost, line) or (waiting and not line)
        late = time.monotonic() - heard >= LONG
        if waiting and (outpost.has_news() or hurry or late):
            if late and not hurry:
                outpost.ask()
            tell(outpost.answer())
            waiting = False


def main(folder: str) -> None:
    os.umask(0o077)
    Path(folder).mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    try:
        serve(Outpost())
    except Trouble as trouble:
        print(trouble)
        sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1])
