"""How many cores of drones the queue asks for: pure functions over what `condor_q` says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from farmlet.runtime import ads

# Job status codes and universes: HTCondor manual, job ClassAd attributes.
IDLE, RUNNING, TRANSFERRING = 1, 2, 6
VANILLA = 5

# Members write most of these. They are asked for as JSON, where what is no plain value stays as it is written; see `ads`.
WRITTEN = ("RequestCpus", "RequestMemory", "WantLocal", "MachineAttrFarmletSite0")
ATTRIBUTES = ("ClusterId", "ProcId", "Owner", "JobUniverse", "JobStatus", *WRITTEN)
CONSTRAINT = f"(JobStatus == {IDLE} || JobStatus == {RUNNING} || JobStatus == {TRANSFERRING}) && {ads.bound(*WRITTEN)}"
MOST = 1e9  # cores, or MiB, that a job can want


class Shape(NamedTuple):
    """The size of one drone: cores and memory in MiB."""

    cores: float
    memory: float


class Job(NamedTuple):
    """What of a job matters here. `memory` in MiB; `local`: it refuses drones; `site`: the one whose drone it is on.

    `number`: with its owner, as people are told of it.
    """

    status: int
    cores: float = 1
    memory: float = 0
    local: bool = False
    site: str = ""
    universe: int = VANILLA
    number: str = ""

    @property
    def waits(self) -> bool:
        """Whether it waits for a slot that may be a drone's."""
        return self.status == IDLE and self.universe == VANILLA and not self.local


class Queue(NamedTuple):
    """The `jobs` that count, and `odd`: by owner, how many ask for what no job can."""

    jobs: list[Job]
    odd: Counter[str]


def parse(said: bytes) -> Queue:
    """The jobs in the output of `condor_q -json` with ATTRIBUTES. Raises ValueError when that is none.

    What one member wrote where a number or a truth value belongs costs that job alone.
    """
    jobs, odd = list[Job](), Counter[str]()
    for ad in ads.read(said):
        try:
            jobs.append(_read(ad))
        except ValueError:
            odd[ads.text(ad, "Owner") or "nobody"] += 1
    return Queue(jobs, odd)


def _read(ad: ads.Ad) -> Job:
    status, universe = ads.whole(ad, "JobStatus"), ads.whole(ad, "JobUniverse")
    if status is None or universe is None:
        raise ValueError("no status or no universe")
    cluster, process = ads.whole(ad, "ClusterId"), ads.whole(ad, "ProcId")
    local = ad.get("WantLocal")
    if not isinstance(local, bool | None) and not ads.is_expression(local):
        raise ValueError("WantLocal")
    return Job(
        status=status,
        cores=_ask(ad, "RequestCpus", 1),
        memory=_ask(ad, "RequestMemory", 0),
        # whoever means something by an expression there means the facility's own slots now and then: no drone waits for that
        local=bool(local),
        site=ads.text(ad, "MachineAttrFarmletSite0"),
        universe=universe,
        number="" if cluster is None or process is None else f"{cluster}.{process} of {ads.text(ad, 'Owner')}",
    )


def _ask(ad: ads.Ad, name: str, default: float) -> float:
    """What is asked for; an expression, as HTCondor's default for the memory is, counts as a small job's. Raises ValueError."""
    value = ad.get(name)
    if value is None or ads.is_expression(value):
        return default
    found = ads.number(ad, name, MOST)
    if found is None:
        raise ValueError(name)
    return found


def add(jobs: Iterable[Job], drone: Shape, maximum: float) -> float:
    """Cores of drones that `jobs` want, at most `maximum`.

    Idle jobs count when they fit into one drone; running ones only while they occupy a drone, so that work on the
    facility's own slots holds none. A job that takes more of a drone's memory than of its cores counts by memory.
    """
    wanted = 0.0
    for job in jobs:
        if job.universe != VANILLA or job.local:
            continue
        if job.status in (RUNNING, TRANSFERRING):
            counts = bool(job.site)
        else:
            counts = job.status == IDLE and job.cores <= drone.cores and job.memory <= drone.memory
        if counts:  # a job takes one drone at most, whatever its owner wrote into it since it began
            wanted += min(max(job.cores, job.memory / drone.memory * drone.cores), drone.cores)
    return min(wanted, maximum)


@dataclass
class Level:
    """Demand that rises at once and falls only after less was wanted for `idle_timeout` seconds on end."""

    idle_timeout: float
    demand: float = 0.0
    since: float = 0.0  # when as much as the present demand was last wanted

    def settle(self, wanted: float, now: float) -> float:
        """The demand at time `now` (seconds, monotonic) when `wanted` cores are asked for."""
        if wanted >= self.demand or now - self.since >= self.idle_timeout:
            self.demand = wanted
            self.since = now
        return self.demand
