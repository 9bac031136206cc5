"""A COBalD controller that asks for as many drones as the queue wants, and for none when it wants none.

COBalD's own controllers steer by the use of the drones that exist; with none, they always grow. This one reads the
queues of the access points. It is loaded by COBalD through `__type__` (see `render.cobald`) and lives in TARDIS'
virtual environment, so it imports COBalD, trio and the standard library only.
"""

from __future__ import annotations

import logging
import subprocess
import time
from collections.abc import Iterator, Sequence
from typing import Any

import trio
from cobald.daemon import service
from cobald.interfaces import Controller, Pool

from farmlet.parts.overlay import demand

logger = logging.getLogger("cobald.runtime.farmlet.demand")

PATIENCE = 30.0  # seconds one query may take
SLOWEST = 60.0  # seconds between queries after many failures
SHARE = 4  # a query never takes more than 1/(SHARE+1) of the time: a long queue is asked less often


@service(flavour=trio)  # type: ignore[misc,untyped-decorator,unused-ignore]
class DemandController(Controller):  # type: ignore[misc,unused-ignore]
    """Sets `target.demand` (cores) from the queues of `schedds` (names as in the collector `pool`).

    `cores`, `memory` (MiB): size of the largest drone. `maximum`: cores. `hold`: seconds without need before the demand
    falls. `interval`: seconds between two queries. `pace`: seconds in which pools turn demand into drones.
    """

    def __init__(
        self,
        target: Pool,
        schedds: Sequence[str],
        pool: str,
        cores: float,
        memory: float,
        maximum: float,
        hold: float = 60,
        interval: float = 1,
        pace: float = 2,
    ) -> None:
        super().__init__(target=target)
        self.commands = [query(schedd, pool) for schedd in schedds]
        self.drone = demand.Shape(cores, memory)
        self.maximum = maximum
        self.interval = interval
        self.level = demand.Level(hold)
        self.failures = 0
        # TARDIS leaves the interval of COBalD's FactoryPool at 30 s and offers no setting for it.
        for member in walk(target):
            if hasattr(member, "factory"):
                member.interval = pace

    async def run(self) -> None:
        """Follow the queue until cancelled."""
        while True:
            start = time.monotonic()
            await self.adjust()
            await trio.sleep(self.pause(time.monotonic() - start))

    async def adjust(self) -> None:
        """Read the queues once and set the demand; when they cannot be read, the demand stays as it is."""
        try:
            with trio.fail_after(PATIENCE):
                jobs = [job for command in self.commands for job in await read(command)]
        except (OSError, subprocess.CalledProcessError, trio.TooSlowError, ValueError) as error:
            self.failures += 1
            if self.failures == 1:
                logger.warning("demand stays at %g, the queue cannot be read: %s", self.target.demand, explain(error))
            return
        if self.failures:
            logger.warning("the queue can be read again after %d failures", self.failures)
        self.failures = 0
        wanted = demand.add(jobs, self.drone, self.maximum)
        settled = self.level.settle(wanted, time.monotonic())
        if self.target.demand != settled:
            logger.info("demand %g -> %g (wanted now: %g)", self.target.demand, settled, wanted)
            self.target.demand = settled

    def pause(self, taken: float) -> float:
        """Seconds until the next query, when the last one took `taken` seconds."""
        if self.failures:
            return float(min(self.interval * 2**self.failures, SLOWEST))
        return max(self.interval, SHARE * taken)


def query(schedd: str, pool: str) -> list[str]:
    """The command that lists the jobs of all users at the access point `schedd`."""
    place = ["-pool", pool, "-name", schedd]
    return ["condor_q", *place, "-allusers", "-constraint", demand.CONSTRAINT, "-af:t", *demand.ATTRIBUTES]


async def read(command: Sequence[str]) -> list[demand.Job]:
    """The jobs that `command` lists. Raises CalledProcessError, OSError or ValueError."""
    done = await trio.run_process(command, capture_stdout=True, capture_stderr=True)
    return demand.parse(done.stdout.decode())


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
