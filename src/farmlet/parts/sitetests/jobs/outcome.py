"""What became of a job, as results: a pure function."""

from __future__ import annotations

from farmlet.parts.sitetests.jobs.outpost import HELD, RUNNING
from farmlet.parts.sitetests.jobs.queue import View
from farmlet.parts.sitetests.result import CRITICAL, OK, UNKNOWN, Result, parse
from farmlet.parts.sitetests.store import Job
from farmlet.parts.sitetests.suite import QUEUE

EMPTY = 5.0  # seconds a job waits in a pool without machines, which may have lost them for a moment only


def conclude(job: Job, view: View, wait: float, limit: float, now: float) -> list[Result]:
    """What a job has found, or why it will find nothing; empty while it may still end well. `wait`, `limit`: seconds it may be in
    the queue, and run."""
    if job.name in view.results:
        return _read(job, view.results[job.name], now)
    waited = now - job.submitted
    state, reason = view.states.get(job.name, (0, ""))
    code, words = CRITICAL, ""
    if not state:
        words = f"a job ended without a result: {view.errors.get(job.name, 'it left the queue, and nothing behind')}"
    elif state == HELD:
        words = f"a job is held: {reason}"
    elif state == RUNNING:
        if waited > wait + limit:
            code, words = UNKNOWN, f"a job runs since {waited:.0f} s and does not end"
    elif view.empty and waited > EMPTY:
        words = "no machine is in the site's pool"
    elif waited > wait:
        code, more = (UNKNOWN, f": {view.drones} drones run there") if view.drones else (CRITICAL, "")
        words = f"no job began within {waited:.0f} s{more}"
    return [Result(QUEUE, code, words, now)] if words else []


def _read(job: Job, result: bytes, now: float) -> list[Result]:
    try:
        results = parse(result, job.tests, now)
    except ValueError as error:
        return [Result(QUEUE, CRITICAL, f"what its job left cannot be read: {error}", now)]
    took = max(0.0, min((one.at for one in results), default=now) - job.submitted)
    return [Result(QUEUE, OK, f"a job began after {took:.0f} s", now, numbers={"began": (round(took, 1), "s")}), *results]
