"""Jobs whose owner has no credential any more are held, with the reason; they are released when there is one again."""

from __future__ import annotations

import json
import logging
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from farmlet.errors import FarmletError
from farmlet.parts.tokens.credential import SERVICE, Unusable, Wish, split

log = logging.getLogger("farmlet.credmon")

SECONDS = 20
CODE = 7002  # tells these holds from those of members, of HTCondor and of ended memberships
HELD = "5"
MOST = 500  # jobs on one command line
OWNER = re.compile(r"[^./\0][^/\0]{0,254}")  # what may be the name of a folder below the credential directory
ATTRIBUTES = ("ClusterId", "ProcId", "Owner", "JobStatus", "OAuthServicesNeeded")
# What jobs need stands in them as a plain text. It is looked at as it is written: a member may write an expression there that
# takes hours, or a list that fills the memory.
PLAIN = r'regexp("^\"[A-Za-z0-9.+=_*, -]{1,2000}\"$", unparse(OAuthServicesNeeded))'
# all that need tokens and are not about to leave, but those held for another reason
NEED = f"{PLAIN} && JobStatus != 3 && JobStatus != 4 && (JobStatus != 5 || HoldReasonSubCode =?= {CODE})"


@dataclass(frozen=True)
class Job:
    """`services` are names of files: HTCondor writes `farmlet*read` for `farmlet_read`."""

    number: str
    owner: str
    status: str
    services: tuple[str, ...]

    @classmethod
    def parse(cls, raw: Mapping[str, Any]) -> Job:
        """From a job of `condor_q -json`. ValueError where its owner wrote what are no names of services.

        For such a job there will never be a token, whatever is stored, and nothing is opened: it may name any file.
        """
        cluster, process, owner, status, services = map(raw.get, ATTRIBUTES)
        if not all(type(number) is int for number in (cluster, process, status)):
            raise ValueError("without a number or a status")
        if not isinstance(owner, str) or not OWNER.fullmatch(owner):
            raise ValueError("without an owner")
        names = dict.fromkeys(split(services.replace("*", "_"))) if isinstance(services, str) else {}
        if not names or not all(SERVICE.fullmatch(name) for name in names):
            raise ValueError("without names of services")
        return cls(f"{cluster}.{process}", owner, str(status), tuple(names))


def settle(root: Path) -> None:
    """Hold and release what has to be; `root` is the credential directory. What the queue does not do now is done later."""
    try:
        jobs = load_jobs()
    except FarmletError as error:
        log.warning("%s", error)
        return
    held, released = sort(root, jobs)
    for reason, numbers in held.items():
        _change(["condor_hold", "-reason", reason, "-subcode", str(CODE)], numbers)
    _change(["condor_release"], released)


def load_jobs() -> list[Job]:
    """The jobs in question. Raises FarmletError.

    As JSON: what a member writes into an attribute may look like the lines of other members' jobs.
    """
    said = _run(["condor_q", "-allusers", "-constraint", NEED, "-attributes", ",".join(ATTRIBUTES), "-json"])
    try:
        found = list(map(dict, json.loads(said or "[]")))  # it says nothing where there are none
    except (ValueError, TypeError) as error:
        raise FarmletError("condor_q", f"an answer that cannot be read: {error}", "systemctl status condor") from error
    jobs = []
    for raw in found:
        try:
            jobs.append(Job.parse(raw))
        except ValueError:
            continue
    if len(jobs) < len(found):
        log.warning("condor_q: %d jobs need tokens that can be none; they are left alone", len(found) - len(jobs))
    return jobs


def sort(root: Path, jobs: Iterable[Job]) -> tuple[dict[str, list[str]], list[str]]:
    """Which jobs to hold, by reason, and which to release."""
    held: dict[str, list[str]] = defaultdict(list)
    released = []
    known: dict[tuple[str, tuple[str, ...]], str | None] = {}
    for job in jobs:
        key = (job.owner, job.services)
        if key not in known:
            known[key] = _judge(root, job)
        fault = known[key]
        if fault and job.status != HELD:
            held[fault].append(job.number)
        elif fault == "" and job.status == HELD:
            released.append(job.number)
    return dict(held), released


def _judge(root: Path, job: Job) -> str | None:
    """Why a job should be held, "" if it should not; None if that cannot be told, which is no reason to do anything."""
    try:
        return next(filter(None, (find_fault(root / job.owner, service) for service in job.services)), "")
    except (OSError, ValueError) as error:  # whatever it is about this one, the others are settled
        log.warning("job %s: %s", job.number, error)
        return None


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
    # our issuer says so where it gives nothing to its member at all
    advice = "" if "the membership " in reason else " Store one anew: farmlet-credential"
    return f"There is no credential for {service} any more{why}.{advice}"


def _change(command: Sequence[str], jobs: Sequence[str]) -> None:
    for first in range(0, len(jobs), MOST):
        try:
            _run([*command, *jobs[first : first + MOST]])
            log.info("%s: %d jobs", command[0], len(jobs[first : first + MOST]))
        except FarmletError as error:  # one of them may have left just now
            log.warning("%s", error)


def _run(words: Sequence[str]) -> str:
    try:
        done = subprocess.run(words, capture_output=True, timeout=SECONDS, stdin=subprocess.DEVNULL)
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise FarmletError(words[0], str(error), "systemctl status condor") from error
    # members' words may be of any encoding
    said, complained = (stream.decode(errors="replace") for stream in (done.stdout, done.stderr))
    if done.returncode:
        raise FarmletError(words[0], (complained or said).strip()[-300:], "systemctl status condor")
    return said
