"""What is counted of the pool, as HTCondor's own tools see it. Run by the node agent as root; standard library only."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection

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


def find_group(ad: ads.Ad, groups: Collection[str]) -> str:
    """The accounting group of a job, if it is one of the facility's."""
    group = ads.text(ad, "AcctGroup")
    return group if group in groups else "other"


def find_site(ad: ads.Ad, sites: Collection[str]) -> str:
    """Where a job ran last: a site of the facility, else its own nodes."""
    site = ads.text(ad, "MachineAttrFarmletSite0")
    return site if site in sites else "local"


def count_jobs(groups: Collection[str], sites: Collection[str]) -> list[Sample]:
    """The jobs of this access point by status, group and, where they run, site; and how long the first of each group waits."""
    words = ("-allusers", "-json", "-constraint", ads.bound("AcctGroup", "MachineAttrFarmletSite0"))
    said = run("condor_q", *words, "-attributes", "JobStatus,AcctGroup,MachineAttrFarmletSite0,EnteredCurrentStatus")
    counts = Counter({(status, group, ""): 0 for status in STATUS.values() for group in groups})
    waits, now = dict.fromkeys(groups, 0.0), time.time()
    for ad in ads.read(said.encode()):
        status, group = STATUS.get(ads.whole(ad, "JobStatus") or 0), find_group(ad, groups)
        if status is None:
            continue
        counts[status, group, find_site(ad, sites) if status == "running" else ""] += 1
        if status == "idle" and (since := ads.number(ad, "EnteredCurrentStatus", now)):
            waits[group] = max(waits.get(group, 0.0), now - since)
    found = [
        Sample("batch_jobs", count, {"status": status, "group": group, "site": site}, help="jobs of the access point")
        for (status, group, site), count in counts.items()
    ]
    help_ = "how long the job has waited that waits longest"
    return [*found, *(Sample("batch_waiting", wait, {"group": group}, "seconds", help=help_) for group, wait in waits.items())]


def count_slots(host: str) -> list[Sample]:
    """The slots that the collector of `host` knows, by state."""
    found = Counter(run("condor_status", "-pool", host, "-af", "State").split())
    counts = {state.lower(): found[state] for state in STATES} | {"other": sum(found[one] for one in set(found) - {*STATES})}
    return [Sample("batch_slots", count, {"state": state}, help="slots of the pool") for state, count in counts.items()]
