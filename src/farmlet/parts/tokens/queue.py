"""Jobs whose owner has no credential any more are held, with the reason; they are released when there is one again.

Tokens wait while this goes on, so it has an end: of one member a bounded number of different jobs is looked at, with a few
reasons, and what is left after some seconds is done at the next pass.
"""

from __future__ import annotations

import logging
import re
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from farmlet.errors import FarmletError
from farmlet.parts.tokens import notes
from farmlet.parts.tokens.credential import SERVICE, Unusable, Wish, split, take_turns
from farmlet.parts.tokens.source import read
from farmlet.runtime import ads
from farmlet.runtime.program import run

log = logging.getLogger("farmlet.credmon")

SECONDS = 20
HINT = "systemctl status condor"
CODE = 7002  # tells these holds from those of members, of HTCondor and of ended memberships
HELD = "5"
MOST = 500  # jobs on one command line
SLICE = 10.0  # seconds after which the rest waits for the next pass
SERVICES = 50  # that one job may need
KINDS = 200  # jobs of one member that are looked up, those which need the same counted once
REASONS = 5  # in one member's jobs; each costs a command of its own
OTHERWISE = "There are no credentials for what the job needs any more. Store them anew: farmlet-credential"
OWNER = re.compile(r"[^./\0][^/\0]{0,254}")  # what may be the name of a folder below the credential directory
ATTRIBUTES = ("ClusterId", "ProcId", "Owner", "JobStatus", "OAuthServicesNeeded")
# What jobs need stands in them as a plain text. It is looked at as it is written: a member may write an expression there that
# takes hours, or a list that fills the memory.
PLAIN = r'regexp("^\"[A-Za-z0-9.+=_*, -]{1,2000}\"$", unparse(OAuthServicesNeeded))'
# HTCondor's own hold (CorruptedCredential) of what began without a credential: condor_submit asks for one, others do not
ABSENT = r'unparse(HoldReasonCode) =?= "4" && unparse(HoldReason) =?= "\"Job credentials are not available\""'
HELD_SO = f'(unparse(HoldReasonSubCode) =?= "{CODE}" || {ABSENT})'
# all that need tokens and are not about to leave, but those held for another reason
NEED = f"{PLAIN} && JobStatus != 3 && JobStatus != 4 && (JobStatus != 5 || {HELD_SO})"


@dataclass(frozen=True)
class Job:
    """`services` are names of files: HTCondor writes `farmlet*read` for `farmlet_read`."""

    number: str
    owner: str
    status: str
    services: tuple[str, ...]

    @classmethod
    def parse(cls, raw: ads.Ad) -> Job:
        """From a job of `condor_q -json`. ValueError where its owner wrote what are no names of services.

        For such a job there will never be a token, whatever is stored, and nothing is opened: it may name any file.
        """
        cluster, process, status = (ads.whole(raw, name) for name in ("ClusterId", "ProcId", "JobStatus"))
        if cluster is None or process is None or status is None:
            raise ValueError("without a number or a status")
        owner = ads.text(raw, "Owner")
        if not OWNER.fullmatch(owner):
            raise ValueError("without an owner")
        names = dict.fromkeys(split(ads.text(raw, "OAuthServicesNeeded").replace("*", "_")))
        if not 0 < len(names) <= SERVICES or not all(SERVICE.fullmatch(name) for name in names):
            raise ValueError("without names of services")
        return cls(f"{cluster}.{process}", owner, str(status), tuple(names))


def settle(root: Path) -> bool:
    """Hold and release what has to be, and say whether some of it is left; `root` is the credential directory.

    What the queue does not do now is done later.
    """
    end = time.monotonic() + SLICE
    try:
        jobs = load_jobs()
    except FarmletError as error:
        log.warning("%s", error)
        return False
    held, released = sort(root, jobs)
    tasks = [(["condor_release"], released)]
    for reason, numbers in sorted(held.items(), key=lambda item: len(item[1])):
        tasks.append((["condor_hold", "-reason", reason, "-subcode", str(CODE)], numbers))
    chunks = [(words, some[first : first + MOST]) for words, some in tasks for first in range(0, len(some), MOST)]
    for done, (words, numbers) in enumerate(chunks):
        if done and time.monotonic() > end:
            return True
        _change(words, numbers)
    return False


def load_jobs() -> list[Job]:
    """The jobs in question. Raises FarmletError.

    As JSON: what a member writes into an attribute may look like the lines of other members' jobs.
    """
    words = ["condor_q", "-allusers", "-constraint", NEED, "-attributes", ",".join(ATTRIBUTES), "-json"]
    said = run(words, hint=HINT, seconds=SECONDS)
    try:
        found = ads.read(said)
    except ValueError as error:
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
    known: dict[str, dict[tuple[str, ...], str | None]] = defaultdict(dict)
    reasons: dict[str, set[str]] = defaultdict(set)
    for job in take_turns(jobs, lambda job: job.owner):
        kinds, own = known[job.owner], reasons[job.owner]
        if job.services not in kinds:
            kinds[job.services] = _find_reason(root, job) if len(kinds) < KINDS else None
        fault = kinds[job.services]
        if fault and job.status != HELD:
            if fault not in own and len(own) >= REASONS:
                fault = OTHERWISE
            own.add(fault)
            held[fault].append(job.number)
        elif fault == "" and job.status == HELD and has_tokens(root, job):
            released.append(job.number)
    return dict(held), released


def _find_reason(root: Path, job: Job) -> str | None:
    """Why a job should be held, "" if it should not; None if that cannot be told, which is no reason to do anything."""
    try:
        return next(filter(None, (find_fault(root / job.owner, service) for service in job.services)), "")
    except (OSError, ValueError) as error:  # whatever it is about this one, the others are settled
        log.warning("job %s: %s", job.number, error)
        return None


def has_tokens(root: Path, job: Job) -> bool:
    """Whether a job would have all its tokens now; without one HTCondor would hold it again as soon as it begins."""
    return all((root / job.owner / f"{service}.use").exists() for service in job.services)


def find_fault(folder: Path, service: str) -> str:
    """Why there will be no token of `service` for a job of the member with this `folder`; "" if there is or will be one."""
    if (folder / f"{service}.use").exists():
        return ""
    names, reason = [service], ""
    try:
        top = folder / f"{service}.top"
        names = [base := Wish.parse(read(top)).of or service]
        if (folder / f"{base}.top").exists():
            waits = notes.read(folder / f"{base}{notes.WAITS}").get("reason", "")
            return f"There is no token for {service} now, and the job goes on by itself later: {waits}" if waits else ""
    except (OSError, Unusable):
        pass
    for name in names:
        reason = notes.read(folder / f"{name}{notes.REFUSED}").get("reason", reason)
    why = f" ({reason})" if reason else ""
    # our issuer says so where it gives nothing to its member at all
    advice = "" if "the membership " in reason else " Store one anew: farmlet-credential"
    return f"There is no credential for {service} any more{why}.{advice}"


def _change(command: Sequence[str], jobs: Sequence[str]) -> None:
    try:
        run([*command, *jobs], hint=HINT, seconds=SECONDS)
        log.info("%s: %d jobs", command[0], len(jobs))
    except FarmletError as error:  # one of them may have left just now
        log.warning("%s", error)
