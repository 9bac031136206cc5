"""Jobs whose owner has no credential any more are held, with the reason; they are released when there is one again."""

from __future__ import annotations

import json
import logging
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from farmlet.errors import FarmletError
from farmlet.parts.tokens.credential import Unusable, Wish, split

log = logging.getLogger("farmlet.credmon")

SECONDS = 20
CODE = 7002  # tells these holds from those of members, of HTCondor and of ended memberships
HELD = "5"
MOST = 500  # jobs on one command line
# all that need tokens and are not about to leave, but those held for another reason
NEED = (
    f"OAuthServicesNeeded =!= undefined && JobStatus != 3 && JobStatus != 4 && (JobStatus != 5 || HoldReasonSubCode =?= {CODE})"
)


@dataclass(frozen=True)
class Job:
    """`services` are names of files: HTCondor writes `farmlet*read` for `farmlet_read`."""

    number: str
    owner: str
    status: str
    services: tuple[str, ...]

    @classmethod
    def parse(cls, line: str) -> Job:
        """From a line of condor_q: cluster, process, owner, status and services, with blanks between them."""
        cluster, process, owner, status, services = line.split(maxsplit=4)
        return cls(f"{cluster}.{process}", owner, status, tuple(split(services.replace("*", "_"))))


def settle(root: Path) -> None:
    """Hold and release what has to be; `root` is the credential directory. What the queue does not do now is done later."""
    try:
        attributes = ("ClusterId", "ProcId", "Owner", "JobStatus", "OAuthServicesNeeded")
        said = _run(["condor_q", "-allusers", "-constraint", NEED, "-af", *attributes])
        held, released = sort(root, [Job.parse(line) for line in said.splitlines()])
        for reason, jobs in held.items():
            _change(["condor_hold", "-reason", reason, "-subcode", str(CODE)], jobs)
        _change(["condor_release"], released)
    except FarmletError as error:
        log.warning("%s", error)


def sort(root: Path, jobs: Iterable[Job]) -> tuple[dict[str, list[str]], list[str]]:
    """Which jobs to hold, by reason, and which to release."""
    held: dict[str, list[str]] = defaultdict(list)
    released = []
    known: dict[tuple[str, tuple[str, ...]], str] = {}
    for job in jobs:
        key = (job.owner, job.services)
        if key not in known:
            known[key] = next(filter(None, (find_fault(root / job.owner, service) for service in job.services)), "")
        if known[key] and job.status != HELD:
            held[known[key]].append(job.number)
        elif not known[key] and job.status == HELD:
            released.append(job.number)
    return dict(held), released


def find_fault(folder: Path, service: str) -> str:
    """Why there will be no token of `service` for a job of the member with this `folder`; "" if there is or will be one."""
    if (folder / f"{service}.use").exists():
        return ""
    names, reason = [service], ""
    try:
        top = folder / f"{service}.top"
        if not (base := Wish.parse(top.read_bytes()).of) or (folder / f"{base}.top").exists():
            return ""
        names = [base]
    except (OSError, Unusable):
        pass
    for name in names:
        try:
            reason = str(json.loads((folder / f"{name}.refused").read_text())["reason"])
        except (OSError, ValueError, LookupError, TypeError):
            continue
    why = f" ({''.join(letter for letter in reason if letter.isprintable())[:200]})" if reason else ""
    return f"There is no credential for {service} any more{why}. Store one anew: farmlet-credential"


def _change(command: Sequence[str], jobs: Sequence[str]) -> None:
    for first in range(0, len(jobs), MOST):
        _run([*command, *jobs[first : first + MOST]])
        log.info("%s: %d jobs", command[0], len(jobs[first : first + MOST]))


def _run(words: Sequence[str]) -> str:
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=SECONDS, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FarmletError(words[0], str(error), "systemctl status condor") from error
    if done.returncode:
        raise FarmletError(words[0], (done.stderr or done.stdout).strip()[-300:], "systemctl status condor")
    return done.stdout
