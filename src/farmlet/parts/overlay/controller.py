"""A COBalD controller that asks for as many drones as the queue wants, and for none when it wants none.

COBalD's own controllers steer by the use of the drones that exist; with none, they always grow. This one reads the
queues of the access points. It is loaded by COBalD through `__type__` (see `render.cobald`) and lives in TARDIS'
virtual environment, so it imports COBalD, trio and the standard library only.

What it found it leaves in a file, for the check: JSON {"at": seconds since 1970, "demand", "odd": {owner: jobs left out},
"silent": {access point: why its queue cannot be read}, "untaken": [jobs that no drone takes]}.
"""

from __future__ import annotations

import json
import logging
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio
from cobald.daemon import service
from cobald.interfaces import Controller, Pool

from farmlet.parts import gate
from farmlet.parts.overlay import demand, untaken
from farmlet.runtime.files import write

logger = logging.getLogger("cobald.runtime.farmlet.demand")

PATIENCE = 20.0  # seconds one query may take
SLOWEST = 15.0  # seconds between queries of one access point after many failures
SILENT = 30.0  # seconds after which the check tells an access point that does not answer; restarting it takes less
KEPT = 900.0  # seconds for which the last known jobs of an access point count that does not answer
TELL = 30.0  # seconds after which the file is written again though nothing changed
LOOK = 5.0  # seconds between two looks at drones that are free
TOLD = 200  # jobs that are named
CALM = 2  # while nobody wants anything, queues are asked so much more seldom
SHARE = 4  # a query never takes more than 1/(SHARE+1) of the time: a long queue is asked less often


@dataclass
class Watch:
    """What is known of one access point's queue; `at`: when it was read last (seconds, monotonic)."""

    name: str
    command: list[str]
    queue: demand.Queue | None = None
    at: float = 0.0
    failures: int = 0
    fault: str = ""


@service(flavour=trio)  # type: ignore[misc,untyped-decorator,unused-ignore]
class DemandController(Controller):  # type: ignore[misc,unused-ignore]
    """Sets `target.demand` (cores) from the queues of `schedds` (names as in the collector `pool`).

    `cores`, `memory` (MiB): size of the largest drone. `sites`: cores at most of each, in the order of the children of `target`;
    those that a gate in the folder `gates` has closed get no new drones. `idle_timeout`: seconds without need before the demand
    falls. `interval`: seconds between two queries. `pace`: seconds in which pools turn demand into drones. `told`: the file for
    the check.
    """

    def __init__(
        self,
        target: Pool,
        schedds: Sequence[str],
        pool: str,
        cores: float,
        memory: float,
        sites: Mapping[str, float],
        gates: str = "",
        idle_timeout: float = 60,
        interval: float = 1,
        pace: float = 2,
        told: str = "",
    ) -> None:
        super().__init__(target=target)
        self.watches = [Watch(schedd, query(schedd, pool)) for schedd in schedds]
        self.drone = demand.Shape(cores, memory)
        self.gates = Gates(target, sites, Path(gates) if gates else None)
        self.interval = interval
        self.level = demand.Level(idle_timeout)
        self._status = ["condor_status", "-pool", pool, "-constraint", untaken.CONSTRAINT]
        self._status += ["-attributes", ",".join(untaken.ATTRIBUTES), "-json"]
        self.free: dict[str, demand.Shape] = {}
        self._untaken = untaken.Untaken()
        self._told = Path(told) if told else None
        self._said, self._due = dict[str, Any](), 0.0
        # TARDIS leaves the interval of COBalD's FactoryPool at 30 s and offers no setting for it.
        for member in walk(target):
            if hasattr(member, "factory"):
                member.interval = pace

    async def run(self) -> None:
        """Follow the queues until cancelled, each at its own pace: one that does not answer keeps none of the others."""
        async with trio.open_nursery() as nursery:
            for watch in self.watches:
                nursery.start_soon(self.follow, watch)
            nursery.start_soon(self.look)

    async def follow(self, watch: Watch) -> None:
        while True:
            start = time.monotonic()
            await self.ask(watch)
            self.settle()
            await trio.sleep(self.pause(watch, time.monotonic() - start))

    async def look(self) -> None:
        """Which drones are free; while that is not known, none is."""
        while True:
            try:
                with trio.fail_after(PATIENCE):
                    done = await trio.run_process(self._status, capture_stdout=True, capture_stderr=True)
                self.free = untaken.parse(done.stdout)
            except (OSError, subprocess.CalledProcessError, trio.TooSlowError, ValueError):
                self.free = {}
            await trio.sleep(LOOK)

    async def ask(self, watch: Watch) -> None:
        """Read one queue; when it cannot be read, what was known stays."""
        try:
            with trio.fail_after(PATIENCE):
                watch.queue = await read(watch.command)
        except (OSError, subprocess.CalledProcessError, trio.TooSlowError, ValueError) as error:
            watch.failures += 1
            watch.fault = explain(error)
            if watch.failures == 1:
                logger.warning("the queue of %s cannot be read, its last known jobs count: %s", watch.name, watch.fault)
            return
        if watch.failures:
            logger.warning("the queue of %s can be read again after %d failures", watch.name, watch.failures)
        watch.failures, watch.fault, watch.at = 0, "", time.monotonic()

    def settle(self) -> None:
        """Set the demand by what is known; while nothing is, it stays as it is."""
        now, turned = time.monotonic(), self.gates.follow()
        for watch in self.watches:
            if watch.failures and now - watch.at > KEPT:
                watch.queue = None
        queues = [watch.queue for watch in self.watches if watch.queue is not None]
        silent = {watch.name: watch.fault for watch in self.watches if watch.failures and now - watch.at > SILENT}
        if not queues and not any(watch.at for watch in self.watches):
            self._tell({"demand": self.target.demand, "odd": {}, "silent": silent, "untaken": []})
            return
        jobs, left = self.choose(now)
        wanted = demand.add(jobs, self.drone, self.gates.maximum)
        settled = min(self.level.settle(wanted, now), self.gates.maximum)
        if turned or self.target.demand != settled:
            logger.info("demand %g -> %g (wanted now: %g)", self.target.demand, settled, wanted)
            self.target.demand = settled
        odd = sum((queue.odd for queue in queues), Counter[str]())
        self._tell({"demand": settled, "odd": odd, "silent": silent, "untaken": left[:TOLD]})

    def choose(self, now: float) -> tuple[list[demand.Job], list[str]]:
        """The jobs that count, and the names of those that do not since no drone takes them."""
        known = [(watch.name, job) for watch in self.watches if watch.queue is not None for job in watch.queue.jobs]
        # of a queue that cannot be read the pool takes no jobs either
        heard = {watch.name for watch in self.watches if not watch.failures}
        idle = {(name, job.number): job for name, job in known if name in heard and job.number and job.waits}
        left = self._untaken.settle(idle, self.free, now)
        jobs = [job for name, job in known if not left or (name, job.number) not in left]
        return jobs, sorted(f"{number} at {name}" for name, number in left)

    def _tell(self, said: Mapping[str, Any]) -> None:
        """For the check; a full disk must not keep drones from being ordered."""
        now = time.monotonic()
        if self._told is None or (said == self._said and now < self._due):
            return
        with suppress(OSError):
            write(self._told, json.dumps({"at": time.time(), **said}).encode())
            self._said, self._due = dict(said), now + TELL

    def pause(self, watch: Watch, taken: float) -> float:
        """Seconds until the next query, when the last one took `taken` seconds."""
        if watch.failures:
            return float(min(self.interval * 2 ** min(watch.failures, 20), SLOWEST))  # numbers of a night are beyond a float
        calm = watch.queue is not None and not watch.queue.jobs
        return max(self.interval * (CALM if calm else 1), SHARE * taken)


class Gates:
    """The sites, each a child of `target`, and which of them may have drones. A closed one is no child and wants none: its share
    goes to the others, its drones end when their jobs have."""

    def __init__(self, target: Any, sites: Mapping[str, float], folder: Path | None) -> None:
        self._target, self._quotas, self._folder = target, dict(sites), folder
        self._pools = dict(zip(sites, target.children, strict=True))
        self._closed: set[str] = set()

    @property
    def maximum(self) -> float:
        """Cores of all sites that are open."""
        return sum(quota for name, quota in self._quotas.items() if name not in self._closed)

    def follow(self) -> bool:
        """Look at the gates; whether one was opened or closed since."""
        if self._folder is None:
            return False
        closed = {name for name in self._pools if not gate.is_open(self._folder, name)}
        if closed == self._closed:
            return False
        for name in closed - self._closed:
            logger.warning("no new drones for %s, its gate is closed: farmlet sitetest list", name)
            self._pools[name].demand = 0
        for name in self._closed - closed:
            logger.warning("drones may go to %s again", name)
        self._closed = closed
        self._target.children[:] = [pool for name, pool in self._pools.items() if name not in closed]
        return True


def query(schedd: str, pool: str) -> list[str]:
    """The command that lists the jobs of all users at the access point `schedd`."""
    asked = ["-constraint", demand.CONSTRAINT, "-attributes", ",".join(demand.ATTRIBUTES), "-json"]
    return ["condor_q", "-pool", pool, "-name", schedd, "-allusers", *asked]


async def read(command: Sequence[str]) -> demand.Queue:
    """The jobs that `command` lists. Raises CalledProcessError, OSError or ValueError."""
    done = await trio.run_process(command, capture_stdout=True, capture_stderr=True)
    return demand.parse(done.stdout)


def explain(error: Exception) -> str:
    """One line on `error`: of a failed command, the last it said."""
    if not isinstance(error, subprocess.CalledProcessError):
        return repr(error)
    said = (error.stderr or b"").decode(errors="replace").strip() or "it said nothing"
    return f"{error.cmd[0]} ended with {error.returncode}: {said.splitlines()[-1]}"


def walk(pool: Any) -> Iterator[Any]:
    """`pool` and the pools below it, down to those that make drones; drones themselves are left out."""
    yield pool
    if hasattr(pool, "factory"):
        return
    below = [pool.target] if hasattr(pool, "target") else getattr(pool, "children", ())
    for member in below:
        yield from walk(member)
