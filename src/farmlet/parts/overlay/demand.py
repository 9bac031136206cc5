"""How many cores of drones the queue asks for: pure functions over what `condor_q` says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

# Job status codes and universes: HTCondor manual, job ClassAd attributes.
IDLE, RUNNING, TRANSFERRING = 1, 2, 6
VANILLA = 5

# Asked for with `condor_q -af:t`, which evaluates expressions such as the default RequestMemory.
ATTRIBUTES = ("JobUniverse", "JobStatus", "RequestCpus", "RequestMemory", "WantLocal", "MachineAttrFarmletSite0")
CONSTRAINT = f"JobStatus == {IDLE} || JobStatus == {RUNNING} || JobStatus == {TRANSFERRING}"


class Shape(NamedTuple):
    """The size of one drone: cores and memory in MiB."""

    cores: float
    memory: float


class Job(NamedTuple):
    """What of a job matters here. `memory` in MiB; `local`: it refuses drones; `site`: the one whose drone it is on."""

    status: int
    cores: float = 1
    memory: float = 0
    local: bool = False
    site: str = ""
    universe: int = VANILLA


def parse(text: str) -> list[Job]:
    """The jobs in the output of `condor_q -af:t` with ATTRIBUTES, one a line, fields separated by tabs.

    What HTCondor could not evaluate (`undefined`, `error`) gets the value of a small job. Raises ValueError when a line
    has another number of fields, which means that the query itself went wrong.
    """
    jobs = []
    for line in text.splitlines():
        fields = line.split("\t")
        if len(fields) != len(ATTRIBUTES):
            raise ValueError(f"expected {len(ATTRIBUTES)} fields, got {line!r}")
        universe, status, cores, memory, local, site = fields
        jobs.append(
            Job(
                status=int(_read(status, 0)),
                cores=_read(cores, 1),
                memory=_read(memory, 0),
                local=local.strip().lower() == "true",
                site="" if site in ("undefined", "error") else site,
                universe=int(_read(universe, 0)),
            )
        )
    return jobs


def _read(text: str, default: float) -> float:
    try:
        return float(text)
    except ValueError:
        return default


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
        if counts:
            wanted += max(job.cores, job.memory / drone.memory * drone.cores)
    return min(wanted, maximum)


@dataclass
class Level:
    """Demand that rises at once and falls only after less was wanted for `hold` seconds on end."""

    hold: float
    demand: float = 0.0
    since: float = 0.0  # when as much as the present demand was last wanted

    def settle(self, wanted: float, now: float) -> float:
        """The demand at time `now` (seconds, monotonic) when `wanted` cores are asked for."""
        if wanted >= self.demand or now - self.since >= self.hold:
            self.demand = wanted
            self.since = now
        return self.demand
