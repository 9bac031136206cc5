"""Jobs that no drone takes, which must not keep drones: pure functions over what is seen. Standard library only.

Whether a job's requirements are met HTCondor evaluates beside a slot only, so it is told by what happens: a drone that has been
free for a while, beside a job of its size that has waited all the while, is not going to run it.
"""

from __future__ import annotations

from collections.abc import Mapping

from farmlet.parts.overlay.demand import MOST, Job, Shape
from farmlet.runtime import ads

PATIENCE = 60.0  # seconds of both; a new drone has its first job within some five
PAUSE = 900.0  # seconds for which the job does not count then: its owner may change it, and sites change
ATTRIBUTES = ("Name", "Cpus", "Memory", "NumDynamicSlots")
CONSTRAINT = 'FarmletSite =!= undefined && PartitionableSlot =?= true && State == "Unclaimed"'

Key = tuple[str, str]  # access point, number of the job


def parse(said: bytes) -> dict[str, Shape]:
    """Drones that run nothing, by name, as `condor_status -json` tells ATTRIBUTES. Raises ValueError for other output."""
    found = {}
    for ad in ads.read(said):
        cores, memory = ads.number(ad, "Cpus", MOST), ads.number(ad, "Memory", MOST)
        if cores is not None and memory is not None and ads.whole(ad, "NumDynamicSlots") == 0:
            found[ads.text(ad, "Name")] = Shape(cores, memory)
    return found


class Untaken:
    """Follows who waits for whom from look to look."""

    def __init__(self) -> None:
        self._free: dict[str, float] = {}
        self._idle: dict[Key, float] = {}
        self._left: dict[Key, float] = {}

    def settle(self, idle: Mapping[Key, Job], free: Mapping[str, Shape], now: float) -> set[Key]:
        """Which of the `idle` jobs do not count at time `now` (seconds, monotonic), beside these `free` drones."""
        self._free = {name: self._free.get(name, now) for name in free}
        self._idle = {key: self._idle.get(key, now) for key in idle}
        self._left = {key: at for key, at in self._left.items() if key in idle and now - at < PAUSE}
        patient = [free[name] for name, since in self._free.items() if now - since >= PATIENCE]
        for key, job in idle.items() if patient else ():
            waited = now - self._idle[key] >= PATIENCE
            if waited and any(job.cores <= drone.cores and job.memory <= drone.memory for drone in patient):
                self._left.setdefault(key, now)
        return set(self._left)
