"""The service: gives tests to sites when they are due, collects what they found, and keeps the gates. One process, no thread.

Every second it looks at what is due; with a site that has something of ours it talks in a task of its own, one at a time a site,
which ends when something has happened there.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
import zlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from farmlet.errors import FarmletError
from farmlet.parts.sitetests import suite
from farmlet.parts.sitetests.gates import Gates
from farmlet.parts.sitetests.jobs import job as jobs
from farmlet.parts.sitetests.jobs.outcome import conclude
from farmlet.parts.sitetests.jobs.queue import Queued, Unreachable
from farmlet.parts.sitetests.result import CRITICAL, PART, UNKNOWN, Result
from farmlet.parts.sitetests.store import ENDED, QUEUED, WANTED, Job, Store
from farmlet.parts.sitetests.suite import QUEUE, Suite, Test
from farmlet.runtime import files

log = logging.getLogger("farmlet.sitetests")

TICK = 1.0  # seconds
SETTLE = 5.0  # within what systemd waits
RELOAD = 5.0  # between looks at the folders of tests
PAUSE = 2.0  # before tests are due again at a site that has not taken the last
RETRY = 5.0  # between attempts to reach a site
PATIENCE = 30.0  # seconds after which a site that takes no job has failed
TOUCH = 15.0  # between two signs of life
PRUNE = 3600.0
LOST = 3600  # seconds a job may wait at a site beyond what we wait for it
AGAIN = 60.0  # between two runs of a test that fails
FIRST = 120.0  # before the first test of a site
BESIDE = 32  # sites to which a way is opened in one tick
BUNDLE = 16 * 1024 * 1024  # bytes above which jobs go to a site in several turns
DAY = 86400


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

    @property
    def asked(self) -> Path:
        """Where the page, which is another user's, leaves an empty file SITE.TEST for what is to run now; may be missing."""
        return self.told.with_name("asked")


@dataclass
class Scheduler:
    """`every`: seconds between runs of tests that name none; `share`: percent of the time that a test may take at a site;
    `wait`: seconds a job may wait there; `clock`: now;
    `mint`: a token for tests at a site that is good for so many seconds, or FarmletError."""

    sites: Mapping[str, Site]
    store: Store
    folders: Folders
    every: int
    wait: int
    keep: float
    share: float
    clock: Callable[[], float] = time.time
    mint: Callable[[str, float], Awaitable[str]] | None = None
    suite: Suite = field(default_factory=lambda: Suite({}))
    _signed: object = None
    _begun: dict[tuple[str, str], float] = field(default_factory=dict)
    _next: dict[str, float] = field(default_factory=dict)  # site → when something is due there, not before
    _start: float = 0.0
    _loaded: float = 0.0
    _touched: float = 0.0
    _pruned: float = 0.0
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._start = self.clock()
        self._begun = self.store.find_begun()
        self._gates = Gates(self.sites, self.store, self.folders.gates)

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            try:
                self.tick()
            except OSError as error:  # a full disk, say: it must not end what mends itself
                log.warning("%s", error)
            await asyncio.sleep(TICK)

    async def settle(self) -> None:
        """Let what is under way with sites come to its end: Python 3.11 can wait for ever for a program that is just beginning
        when its task is cancelled."""
        for site in self.sites.values():
            site.queue.hurry()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=SETTLE)

    def tick(self) -> None:
        """Do what is due now; what takes time goes into tasks."""
        now = self.clock()
        if now - self._loaded >= RELOAD:
            self._load(now)
        self._take_asked(now)
        for name in self.sites:
            self._plan(name, now)
        self._visit(now)
        if now - self._touched >= TOUCH:
            self._touched = now
            self._gates.judge(now)
            self._tell()
        if now - self._pruned >= PRUNE:
            self._pruned = now
            self.store.prune(now - self.keep)

    def _visit(self, now: float) -> None:
        """Talk to the sites that have something of ours or are to have it."""
        opened = 0
        for name, wanted in self.store.find_busy().items():
            site = self.sites.get(name)
            if site and site.busy and wanted:
                site.queue.hurry()
            elif site and not site.busy and site.due <= now and opened < BESIDE:
                opened += site.queue.process is None
                site.busy = True
                task = asyncio.create_task(self._attend(site))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    def _load(self, now: float) -> None:
        self._loaded = now
        signed = suite.sign(self.folders.shipped, self.folders.own)
        if signed == self._signed:
            return
        self._signed = signed
        self.suite = self._gates.suite = suite.load(self.folders.shipped, self.folders.own, self.sites, self.every)
        for fault in self.suite.faults:
            log.warning("%s", fault)
        self._touched = 0.0
        self._next = {}

    def _take_asked(self, now: float) -> None:
        """What somebody asks for on the page, each once at a time, and a site's in one job."""
        asked, paths = dict[str, list[Test]](), sorted(self.folders.asked.glob("*.*"))
        for path in paths:
            site, _, name = path.name.partition(".")
            test = self.suite.tests.get(name)
            if site in self.sites and test and test.is_for(site):
                waiting = [one for one in self.store.find_open(site) if one.why == "demand" and name in one.tests]
                if not any(one.state in (WANTED, QUEUED) for one in waiting):
                    asked.setdefault(site, []).append(test)
        for site, tests in asked.items():
            self.store.add(make(site, tests, "demand", now))
        for path in paths:
            path.unlink(missing_ok=True)

    def _plan(self, name: str, now: float) -> None:
        """Write down a job with all tests that are due at a site."""
        if now < self._next.get(name, 0.0):
            return
        dues = {test: self._find_due(name, test) for test in self.suite.tests.values() if test.is_for(name)}
        due = [test for test, at in dues.items() if at <= now]
        self._next[name] = now + PAUSE if due else min(dues.values(), default=now + PAUSE)
        if due and not any(job.why == "schedule" and job.state in (WANTED, QUEUED) for job in self.store.find_open(name)):
            self.store.add(make(name, due, "schedule", now))
            self._begun |= {(name, test.name): now for test in due}

    def _find_due(self, name: str, test: Test) -> float:
        """When a test is to run again at a site: soon while it fails, so that the gate opens soon after the site is well, and
        else seldomer than wanted when it takes long there.

        The first time, sites do not come all at once, and not while `up` still makes what the tests look for.
        """
        begun = self._begun.get((name, test.name))
        if begun is None:
            return self._start + FIRST + zlib.crc32(name.encode()) % test.every
        pressing = any(self._gates.is_pressing(name, one, self.clock()) for one in (test.name, QUEUE))
        return begun + (min(test.every, AGAIN) if pressing else self._find_pace(name, test))

    def _find_pace(self, site: str, test: Test) -> float:
        """Seconds between its runs there."""
        return max(test.every, self._gates.takes.get((site, test.name), 0.0) * 100 / self.share)

    async def _attend(self, site: Site) -> None:
        try:
            await self.attend(site)
            site.told = ""
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
            if wanted := [job for job in opened if job.state == WANTED]:
                self._load(self.clock())  # what was put there just now counts
                await self._submit(site, wanted)
                opened = self.store.find_open(site.name)
            waiting = [job for job in opened if job.state == QUEUED]
            view = await site.queue.look([job.name for job in waiting], gone)
        except Unreachable as error:
            self._give_up(opened, str(error))
            raise
        self.store.mark_done(gone)
        now = self.clock()
        found = [(job, conclude(job, view, self.wait, self._limit(job), now)) for job in waiting]
        self._end([(job, results) for job, results in found if results])

    async def _submit(self, site: Site, wanted: Sequence[Job]) -> None:
        bundle, size = dict[str, dict[str, bytes]](), 0
        for job in wanted:
            bundle[job.name] = await self._pack(site, job)
            size += sum(map(len, bundle[job.name].values()))
            if size > BUNDLE or job is wanted[-1]:
                await site.queue.submit({name: packed for name, packed in bundle.items() if packed})
                self.store.mark_queued(bundle, self.clock())
                bundle, size = {}, 0

    async def _pack(self, site: Site, job: Job) -> dict[str, bytes]:
        """What goes to the site for a job; nothing when there is none of its tests any more."""
        tests = [self.suite.tests[name] for name in job.tests if name in self.suite.tests]
        environment, token = await self._equip(site, tests)
        try:
            if tests:
                return jobs.pack(job.name, tests, environment, self.wait + LOST, token)
        except OSError as error:
            log.warning("%s: %s", job.name, error)
        self._end([(job, [Result(name, UNKNOWN, "there is no such test any more", self.clock()) for name in job.tests])])
        return {}

    async def _equip(self, site: Site, tests: Sequence[Test]) -> tuple[Mapping[str, str], str]:
        """What tests are told, and the token for those that want one; why there is none, if so."""
        if self.mint is None or not any(test.token for test in tests):
            return site.environment, ""
        try:
            return site.environment, await self.mint(site.name, self.wait + jobs.limit(tests))
        except FarmletError as error:
            log.warning("no token for the tests at %s: %s: %s", site.name, error.where, error.what)
            return {**site.environment, "FARMLET_NO_TOKEN": error.what}, ""

    def _give_up(self, opened: Sequence[Job], reason: str) -> None:
        """The site cannot be reached: jobs that it should have taken, or ended long ago, tell so."""
        now = self.clock()
        late = [job for job in opened if job.state == WANTED and now - job.made > PATIENCE]
        late += [job for job in opened if job.state == QUEUED and now - job.submitted > self.wait + self._limit(job)]
        self._end([(job, [Result(QUEUE, CRITICAL, reason, now)]) for job in late])
        stale = [job.name for job in opened if job.state == ENDED and now - job.ended > DAY]
        self.store.mark_done(stale)  # the site removes what is left by itself, should it come back

    def _limit(self, job: Job) -> int:
        return jobs.limit([self.suite.tests[name] for name in job.tests if name in self.suite.tests])

    def _end(self, ended: Sequence[tuple[Job, Sequence[Result]]]) -> None:
        """Keep the results of jobs at one site. A test that fails for the first time is run again at once, and at some other
        sites too. What is in its report is kept, and judged as that test."""
        now = self.clock()
        self.store.end(ended, now)
        for job, one in [(job, one) for job, results in ended for one in results if PART not in one.test]:
            log.info("%s at %s: %s: %s", one.test, job.site, one.word, one.text[:200])
            if one.code == CRITICAL and not self._gates.fails(job.site, one.test):
                self._order(job.site, job.tests if one.test == QUEUE else (one.test,))
                for peer in self._gates.find_peers(job.site, one.test):
                    self._order(peer, [self._find_shortest(peer)] if one.test == QUEUE else (one.test,))
            self._gates.note(job.site, one, now)
        if ended:
            self._next.pop(ended[0][0].site, None)
            self._gates.judge(now, ended[0][0].site)

    def _order(self, site: str, tests: Sequence[str]) -> None:
        """Let them be due."""
        self._begun |= {(site, name): 0.0 for name in tests if name in self.suite.tests}
        self._next.pop(site, None)

    def _find_shortest(self, site: str) -> str:
        """The test that tells soonest whether a site runs jobs."""
        fit = [test for test in self.suite.tests.values() if test.is_for(site)]
        return min(fit, key=lambda test: test.timeout).name if fit else ""

    def _tell(self) -> None:
        """For the check, and `farmlet sitetest list`."""
        rows = [_describe(test) for test in self.suite.tests.values()]
        slow = [
            {"site": site, "test": name, "takes": takes, "every": self._find_pace(site, test)}
            for (site, name), takes in sorted(self._gates.takes.items())
            if (test := self.suite.tests.get(name)) and self._find_pace(site, test) > test.every
        ]
        told = {"tests": rows, "faults": list(self.suite.faults), "frozen": sorted(self._gates.frozen), "slow": slow}
        files.write(self.folders.told, json.dumps(told).encode())


def _describe(test: Test) -> dict[str, object]:
    names = ("every", "timeout", "gate", "shipped")
    return {"test": test.name, "sites": sorted(test.sites), **{name: getattr(test, name) for name in names}}


def make(site: str, tests: Sequence[Test], why: str, now: float) -> Job:
    """A new job, with a name that no other ever has."""
    name = f"{site}-{int(now)}-{secrets.token_hex(4)}"
    return Job(name, site, tuple(test.name for test in tests), why, WANTED, now)
