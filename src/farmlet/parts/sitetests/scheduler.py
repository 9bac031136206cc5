"""The service: gives tests to sites when they are due, collects what they found, and keeps the gates. One process, no thread.

Every second it looks at what is due; with a site that has something of ours it talks in a task of its own, one at a time a site.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from farmlet.parts import gate
from farmlet.parts.sitetests import job as jobs
from farmlet.parts.sitetests import suite, verdict
from farmlet.parts.sitetests.queue import HELD, RUNNING, Unreachable, View
from farmlet.parts.sitetests.result import CRITICAL, OK, UNKNOWN, Result, parse
from farmlet.parts.sitetests.store import ENDED, QUEUED, WANTED, Job, Store
from farmlet.parts.sitetests.suite import QUEUE, Suite, Test
from farmlet.runtime import files

log = logging.getLogger("farmlet.sitetests")

TICK = 1.0  # seconds
LOOK = 2.0  # between looks at a queue in which a job of ours is
RETRY = 5.0  # between attempts to reach a site
PATIENCE = 30.0  # seconds after which a site that takes no job has failed
TOUCH = 15.0  # between two signs of life
PRUNE = 3600.0
LOST = 3600  # seconds a job may wait at a site beyond what we wait for it
AGAIN = 60.0  # between two runs of a test that fails
FIRST = 120.0  # before the first test of a site
HISTORY = 4  # results of a test at a site by which gates are judged
BESIDE = 32  # sites that are talked to at a time
DAY = 86400


class Queued(Protocol):
    """A site's queue as it is used here."""

    async def submit(self, name: str, packed: bytes) -> None: ...

    async def look(self, names: Sequence[str], gone: Sequence[str]) -> View: ...


@dataclass
class Site:
    """`environment`: what tests are told of it. `due`: when its queue is talked to next; `told`: why it could not be, if so."""

    name: str
    queue: Queued
    environment: Mapping[str, str]
    due: float = 0.0
    told: str = ""
    busy: bool = False


@dataclass
class Folders:
    """Where things are: tests that come with us, the collaboration's, gates, and what the check is told."""

    shipped: Path
    own: Path
    gates: Path
    told: Path


@dataclass
class Scheduler:
    """`every`: seconds between runs of tests that name none; `wait`: seconds a job may wait at a site; `clock`: now."""

    sites: Mapping[str, Site]
    store: Store
    folders: Folders
    every: int
    wait: int
    keep: float
    clock: Callable[[], float] = time.time
    suite: Suite = field(default_factory=lambda: Suite({}))
    _signed: object = None
    _begun: dict[tuple[str, str], float] = field(default_factory=dict)
    _histories: dict[str, dict[str, list[Result]]] = field(default_factory=dict)
    _next: dict[str, float] = field(default_factory=dict)  # site → when something is due there, not before
    _gates: dict[str, gate.Gate] = field(default_factory=dict)
    _frozen: set[str] = field(default_factory=set)
    _start: float = 0.0
    _touched: float = 0.0
    _pruned: float = 0.0
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._start = self.clock()
        self._begun = self.store.find_begun()
        for name, result in reversed(self.store.find_rows(last=HISTORY)):
            self._note(name, result)
        for name in self.sites:
            if found := gate.load(self.folders.gates, name):
                self._gates[name] = found
        self._slots = asyncio.Semaphore(BESIDE)

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            try:
                self.tick()
            except OSError as error:  # a full disk, say: it must not end what mends itself
                log.warning("%s", error)
            await asyncio.sleep(TICK)

    def tick(self) -> None:
        """Do what is due now; what takes time goes into tasks."""
        now = self.clock()
        self._load()
        for name in self.sites:
            self._plan(name, now)
        for name in sorted(self.store.find_busy() & self.sites.keys()):
            site = self.sites[name]
            if not site.busy and site.due <= now:
                site.busy = True
                task = asyncio.create_task(self._attend(site))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        if now - self._touched >= TOUCH:
            self._touched = now
            self.judge()
            self._tell()
        if now - self._pruned >= PRUNE:
            self._pruned = now
            self.store.prune(now - self.keep)

    def _load(self) -> None:
        signed = suite.sign(self.folders.shipped, self.folders.own)
        if signed == self._signed:
            return
        self._signed = signed
        self.suite = suite.load(self.folders.shipped, self.folders.own, self.sites, self.every)
        for fault in self.suite.faults:
            log.warning("%s", fault)
        self._touched = 0.0
        self._next = {}

    def _plan(self, name: str, now: float) -> None:
        """Write down a job with all tests that are due at a site."""
        if now < self._next.get(name, 0.0):
            return
        dues = {test: self._find_due(name, test) for test in self.suite.tests.values() if test.is_for(name)}
        due = [test for test, at in dues.items() if at <= now]
        self._next[name] = min((at for at in dues.values() if at > now), default=now + LOOK) if not due else now + LOOK
        if due and not any(job.why == "schedule" and job.state in (WANTED, QUEUED) for job in self.store.find_open(name)):
            self.store.add(make(name, due, "schedule", now))
            self._begun |= {(name, test.name): now for test in due}

    def _find_due(self, name: str, test: Test) -> float:
        """When a test is to run again at a site: soon while it fails, so that the gate opens soon after the site is well.

        The first time, sites do not come all at once, and not while `up` still makes what the tests look for.
        """
        begun = self._begun.get((name, test.name))
        if begun is None:
            return self._start + FIRST + zlib.crc32(name.encode()) % test.every
        failing = verdict.fails_any({one: self._find_history(name).get(one, ()) for one in (test.name, QUEUE)})
        return begun + (min(test.every, AGAIN) if failing else test.every)

    async def _attend(self, site: Site) -> None:
        try:
            async with self._slots:
                await self.attend(site)
            site.told, site.due = "", self.clock() + LOOK
        except Unreachable as error:
            if site.told != str(error):  # say it once, not at every attempt
                log.warning("%s: %s", site.name, error)
            site.told, site.due = str(error), self.clock() + RETRY
        except Exception:  # one site's trouble is not the others'
            log.exception("%s", site.name)
            site.due = self.clock() + RETRY
        finally:
            site.busy = False

    async def attend(self, site: Site) -> None:
        """Bring new jobs to a site's queue and collect what became of the others. Raises Unreachable."""
        opened = self.store.find_open(site.name)
        gone = [job.name for job in opened if job.state == ENDED]
        try:
            for job in opened:
                if job.state == WANTED:
                    await self._submit(site, job)
            waiting = [job for job in self.store.find_open(site.name) if job.state == QUEUED]
            view = await site.queue.look([job.name for job in waiting], gone)
        except Unreachable as error:
            self._give_up(opened, str(error))
            raise
        self.store.mark_done(gone)
        for job in waiting:
            self._follow(job, view)

    async def _submit(self, site: Site, job: Job) -> None:
        tests = [self.suite.tests[name] for name in job.tests if name in self.suite.tests]
        try:
            packed = jobs.pack(job.name, tests, site.environment, self.wait + LOST)
        except OSError as error:
            tests, packed = [], b""
            log.warning("%s: %s", job.name, error)
        if not tests:
            self._end(job, [Result(name, UNKNOWN, "there is no such test any more", self.clock()) for name in job.tests])
            return
        await site.queue.submit(job.name, packed)
        self.store.mark_queued(job.name, self.clock())

    def _give_up(self, opened: Sequence[Job], reason: str) -> None:
        """The site cannot be reached: jobs that it should have taken, or ended long ago, tell so."""
        now = self.clock()
        for job in opened:
            late = job.state == WANTED and now - job.made > PATIENCE
            late = late or (job.state == QUEUED and now - job.submitted > self.wait + self._limit(job))
            if late:
                self._end(job, [Result(QUEUE, CRITICAL, reason, now)])
        stale = [job.name for job in opened if job.state == ENDED and now - job.ended > DAY]
        self.store.mark_done(stale)  # the site removes what is left by itself, should it come back

    def _follow(self, job: Job, view: View) -> None:
        now = self.clock()
        waited = now - job.submitted
        if job.name in view.results:
            try:
                results = parse(view.results[job.name], job.tests, now)
            except ValueError as error:
                self._end(job, [Result(QUEUE, CRITICAL, f"what its job left cannot be read: {error}", now)])
                return
            took = max(0.0, min((one.at for one in results), default=now) - job.submitted)
            said = Result(QUEUE, OK, f"a job began after {took:.0f} s", now, numbers={"began": (round(took, 1), "s")})
            self._end(job, [said, *results])
        elif job.name not in view.states:
            why = view.errors.get(job.name, "it left the queue, and nothing behind")
            self._end(job, [Result(QUEUE, CRITICAL, f"a job ended without a result: {why}", now)])
        elif view.states[job.name][0] == HELD:
            self._end(job, [Result(QUEUE, CRITICAL, f"a job is held: {view.states[job.name][1]}", now)])
        elif view.states[job.name][0] == RUNNING:
            if waited > self.wait + self._limit(job):
                self._end(job, [Result(QUEUE, UNKNOWN, f"a job runs since {waited:.0f} s and does not end", now)])
        elif waited > self.wait:
            code, more = (UNKNOWN, f": {view.drones} drones run there") if view.drones else (CRITICAL, "")
            self._end(job, [Result(QUEUE, code, f"no job began within {waited:.0f} s{more}", now)])

    def _limit(self, job: Job) -> int:
        return jobs.limit([self.suite.tests[name] for name in job.tests if name in self.suite.tests])

    def _end(self, job: Job, results: Sequence[Result]) -> None:
        """Keep the results. A test that fails for the first time is run again at once: twice closes the gate."""
        self.store.end(job, results, self.clock())
        for one in results:
            log.info("%s at %s: %s: %s", one.test, job.site, one.word, one.text[:200])
            if one.code == CRITICAL and not verdict.fails(self._find_history(job.site).get(one.test, ())):
                again = job.tests if one.test == QUEUE else (one.test,)
                self._begun |= {(job.site, name): 0.0 for name in again}
            self._note(job.site, one)
        self._next.pop(job.site, None)
        self.judge(job.site)

    def _note(self, site: str, result: Result) -> None:
        history = self._histories.setdefault(site, {}).setdefault(result.test, [])
        history[:] = [replace(result, output=""), *history][:HISTORY]

    def _find_history(self, site: str) -> Mapping[str, Sequence[Result]]:
        """The last results of the tests that there are."""
        known = {QUEUE, *self.suite.tests}
        return {test: results for test, results in self._histories.get(site, {}).items() if test in known}

    def judge(self, *only: str) -> None:
        """Write the gates of all sites or those named, where they changed, and say that they still count."""
        now = self.clock()
        if self._frozen or any(verdict.fails_any(self._find_history(name)) for name in only or self.sites):
            self._freeze()
        closed = self.store.find_closed(now)
        gating = {QUEUE, *(test.name for test in self.suite.tests.values() if test.gate)}
        for name in only or self.sites:
            before = self._gates.get(name)
            history = self._find_history(name)
            found = verdict.judge(history, gating, self._frozen, closed.get(name), before, now)
            self._keep(name, found, before)

    def _freeze(self) -> None:
        frozen = verdict.find_frozen({name: self._find_history(name) for name in self.sites}, self.sites)
        for test in sorted(frozen - self._frozen):
            log.warning("%s fails at most sites: most likely the fault is ours; it closes no gate now, and opens none", test)
        self._frozen = frozen

    def _keep(self, name: str, found: gate.Gate, before: gate.Gate | None) -> None:
        if before is None or before.ok != found.ok:
            log.info("gate of %s: %s", name, "open" if found.ok else f"closed: {found.reason}")
        if found != before:
            gate.save(self.folders.gates, name, found)
            self._gates[name] = found
        else:
            with suppress(FileNotFoundError):
                gate.touch(self.folders.gates, name)

    def _tell(self) -> None:
        """For the check, and `farmlet sitetest list`."""
        rows = [_describe(test) for test in self.suite.tests.values()]
        told = {"tests": rows, "faults": list(self.suite.faults), "frozen": sorted(self._frozen)}
        files.write(self.folders.told, json.dumps(told).encode())


def _describe(test: Test) -> dict[str, object]:
    names = ("every", "timeout", "gate", "shipped")
    return {"test": test.name, "sites": sorted(test.sites), **{name: getattr(test, name) for name in names}}


def make(site: str, tests: Sequence[Test], why: str, now: float) -> Job:
    """A new job, with a name that no other ever has."""
    name = f"{site}-{int(now)}-{secrets.token_hex(4)}"
    return Job(name, site, tuple(test.name for test in tests), why, WANTED, now)
