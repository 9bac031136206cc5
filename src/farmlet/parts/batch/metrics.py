"""What is counted of the pool, as HTCondor's own tools see it. Run by the node agent as root; standard library only."""

from __future__ import annotations

from collections import Counter

from farmlet.runtime import ads
from farmlet.runtime.checks import run
from farmlet.runtime.metrics import Sample

# HTCondor manual, job ClassAd attributes: JobStatus
STATUS = {1: "idle", 2: "running", 3: "removed", 4: "completed", 5: "held", 6: "transferring", 7: "suspended"}
# machine ClassAd attributes: State; what a drone says of itself is its site's word
STATES = ("Owner", "Unclaimed", "Matched", "Claimed", "Preempting", "Backfill", "Drained")


def count_statuses() -> Counter[int | None]:
    """How many jobs are in which status (None: in none that is a number). Raises Failed or ValueError."""
    said = run("condor_q", "-allusers", "-attributes", "JobStatus", "-json")
    return Counter(ads.whole(ad, "JobStatus") for ad in ads.read(said.encode()))


def count_jobs() -> list[Sample]:
    """The jobs of this access point by status."""
    found = count_statuses()
    help_ = "jobs of the access point"
    return [Sample("batch_jobs", found[code], {"status": status}, help=help_) for code, status in STATUS.items()]


def count_slots(host: str) -> list[Sample]:
    """The slots that the collector of `host` knows, by state."""
    found = Counter(run("condor_status", "-pool", host, "-af", "State").split())
    counts = {state.lower(): found[state] for state in STATES} | {"other": sum(found[one] for one in set(found) - {*STATES})}
    return [Sample("batch_slots", count, {"state": state}, help="slots of the pool") for state, count in counts.items()]
