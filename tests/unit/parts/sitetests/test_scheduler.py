"""The service over a site that is played, by a clock that is turned by hand."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from farmlet.parts import gate
from farmlet.parts.sitetests.jobs.queue import Unreachable, View
from farmlet.parts.sitetests.result import OK
from farmlet.parts.sitetests.scheduler import AGAIN, FIRST, PATIENCE, Folders, Scheduler, Site, make
from farmlet.parts.sitetests.store import DONE, ENDED, QUEUED, Closed, Job, Store
from farmlet.parts.sitetests.verdict import FLAPS

SPREAD = zlib.crc32(b"tier1") % 600 + 20  # until the first test has run, with time to spare
HEADER = "# /// sitetest\n# every = {every}\n# ///\ndef test(): pass\n"


class World:
    """One site, its queue and the time. `codes`, `seconds`: of each test as it runs there; `start`: whether jobs begin; `drones`
    run."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.now = folder, 1_800_000_000.0
        self.codes: dict[str, int] = {}
        self.seconds: dict[str, float] = {}
        self.process = None
        self.away, self.start, self.drones, self.held, self.empty = "", True, 0, False, False
        self.report = ""
        self.queue: dict[str, list[str]] = {}
        self.submitted: list[str] = []
        for name in ("none", "own", "gates"):
            (folder / name).mkdir()
        self.add("fast", 600)
        self.store = Store(folder / "results.sqlite3")
        self.store._base.execute("PRAGMA synchronous = OFF")  # no power fails here
        self.begin()

    def add(self, name: str, every: int) -> None:
        (self.folder / "own" / f"{name}.py").write_text(HEADER.format(every=every))

    def begin(self) -> None:
        """The service begins, the first time or after it was killed."""
        folders = Folders(self.folder / "none", self.folder / "own", self.folder / "gates", self.folder / "told.json")
        self.site = Site("tier1", self, {})
        self.service = Scheduler({"tier1": self.site}, self.store, folders, 600, 300, 86400, 10, clock=lambda: self.now)

    async def submit(self, jobs: Mapping[str, Mapping[str, bytes]]) -> None:
        if self.away:
            raise Unreachable(self.away)
        for name in jobs:
            found = self.store.find_job(name)
            assert found is not None, "a job is written down before it goes anywhere"
            if name not in self.submitted:
                self.submitted.append(name)
                self.queue[name] = list(found.tests)

    def hurry(self) -> None:
        pass

    async def look(self, names: Collection[str], gone: Collection[str]) -> View:
        if self.away:
            raise Unreachable(self.away)
        for name in gone:
            self.queue.pop(name, None)
        if self.held:
            return View(states=dict.fromkeys(names, (5, "no disk")))
        if not self.start:
            return View(states=dict.fromkeys(names, (1, "")), drones=self.drones, empty=self.empty)
        return View(results={name: self.tell(self.queue[name]) for name in names if name in self.queue})

    def tell(self, tests: Sequence[str]) -> bytes:
        row = {"text": "text", "at": self.now, "output": "more", "dropped": 0} | ({"report": self.report} if self.report else {})
        rows = [{"name": test, "code": self.codes.get(test, OK), "seconds": self.seconds.get(test, 1.0), **row} for test in tests]
        return json.dumps({"host": "wn1", "results": rows}).encode()

    def live(self, seconds: float) -> None:
        """So much time goes by, in steps of 5 s."""

        async def work() -> None:
            until = self.now + seconds
            while self.now < until:
                self.now = min(self.now + 5, until)
                self.service.tick()
                while self.site.busy:
                    await asyncio.sleep(0)

        asyncio.run(work())

    def gate(self) -> gate.Gate:
        found = gate.load(self.folder / "gates", "tier1")
        assert found is not None
        return found

    def codes_of(self, test: str) -> list[int]:
        """All its results, the newest first."""
        return [one.code for one in self.store.find_results(test=test, last=1000)]

    def jobs(self) -> list[Job]:
        return [job for name in self.submitted if (job := self.store.find_job(name))]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    found = World(tmp_path)
    yield found
    found.store.close()


def test_a_test_runs_every_so_often_and_all_that_are_due_go_in_one_job(world: World) -> None:
    world.add("other", 600)
    world.add("rare", 7200)
    world.live(FIRST + SPREAD + 3600)
    assert len(world.codes_of("fast")) == len(world.codes_of("other")) == 7 and len(world.codes_of("rare")) == 1
    assert {job.tests for job in world.jobs()} <= {("fast", "other"), ("fast", "other", "rare"), ("rare",)}
    assert {job.state for job in world.jobs()} == {DONE}
    assert world.gate().ok and not world.queue
    assert set(world.gate().tests) == {"fast", "other", "rare", "queue"}


def test_what_takes_long_runs_seldomer_but_soon_while_it_fails(world: World) -> None:
    world.add("slow", 600)
    world.seconds["slow"] = 120.0
    world.live(FIRST + SPREAD + 3600)
    assert len(world.codes_of("fast")) == 7 and len(world.codes_of("slow")) == 4, "120 s are a tenth of 20 minutes"
    (told,) = json.loads((world.folder / "told.json").read_text())["slow"]
    assert told == {"site": "tier1", "test": "slow", "takes": 120.0, "every": 1200.0}
    world.begin()  # it is known after a restart too
    world.codes["slow"] = 2
    world.live(1300)
    assert len(world.codes_of("slow")) >= 6 and not world.gate().ok
    world.codes["slow"] = 0
    world.live(AGAIN + 10)
    assert world.gate().ok


def test_a_failure_is_tried_again_at_once_and_closes_the_gate_which_opens_soon_after(world: World) -> None:
    world.live(FIRST + SPREAD)
    changed = world.folder / "gates" / "changed"
    changed.unlink()
    world.codes["fast"] = 2
    world.live(600)
    assert world.codes_of("fast")[:3] == [2, 2, 0] and not world.gate().ok and "fast: text" in world.gate().reason
    changed.unlink()  # the node agent has seen it; what stays as it is does not write it again
    world.live(AGAIN)
    assert not changed.exists()
    world.codes["fast"] = 0
    world.live(AGAIN + 10)
    assert world.codes_of("fast")[0] == 0 and world.gate().ok and changed.exists()


def test_killed_at_any_time_it_loses_no_job_and_does_none_twice(world: World) -> None:
    job = make("tier1", [], "demand", world.now)
    world.store.add(Job(job.name, "tier1", ("fast",), "demand", job.state, job.made))
    world.begin()  # killed before it submitted
    assert not world.submitted
    world.start = False
    world.live(10)
    assert world.submitted == [job.name] and world.jobs()[0].state == QUEUED
    world.begin()  # killed while it waited
    world.start = True
    world.live(5)
    world.begin()  # killed after it had stored
    world.service._end([(world.jobs()[0], [])])
    assert world.codes_of("fast") == [0] and world.submitted == [job.name]
    world.live(10)
    assert world.jobs()[0].state == DONE and not world.queue


def test_a_submitted_job_whose_answer_was_lost_is_not_submitted_again(world: World) -> None:
    job = Job("tier1-1-aa", "tier1", ("fast",), "demand", "wanted", world.now)
    world.store.add(job)
    asyncio.run(world.submit({job.name: {}}))  # and killed before it wrote that down
    world.begin()
    world.live(10)
    assert world.submitted == [job.name] and world.codes_of("fast") == [0]


def test_a_site_that_is_away_fails_in_its_queue_and_no_test_is_blamed(world: World) -> None:
    world.away = "the submit host: Connection refused"
    world.live(FIRST + SPREAD + 2 * PATIENCE + 30)
    assert world.codes_of("queue")[:2] == [2, 2] and not world.codes_of("fast")
    assert not world.gate().ok and "Connection refused" in world.gate().reason
    world.away = ""
    world.live(AGAIN + 15)
    assert world.gate().ok and world.codes_of("fast")[0] == 0


@pytest.mark.parametrize(("drones", "code"), [(0, 2), (3, 3)])
def test_a_job_that_does_not_begin(world: World, drones: int, code: int) -> None:
    world.start, world.drones = False, drones
    world.live(FIRST + SPREAD + 320)
    assert world.codes_of("queue")[0] == code, "with drones that run there the site is full, not broken"
    assert not world.codes_of("fast")


def test_a_site_without_machines_is_known_within_a_minute(world: World) -> None:
    world.live(FIRST + SPREAD)
    (world.folder / "own/fast.py").write_text(HEADER.format(every=30))
    world.start, world.empty = False, True
    world.live(60)
    assert (
        world.codes_of("queue")[:2] == [2, 2]
        and not world.gate().ok
        and "no machine is in the site's pool" in world.gate().reason
    )
    world.start, world.empty = True, False
    world.live(60)
    assert world.gate().ok


def test_a_held_job_and_one_that_vanished_tell_why(world: World) -> None:
    world.held = True
    world.live(FIRST + SPREAD + 10)
    assert "a job is held: no disk" in world.store.find_results(test="queue")[0].text
    world.held, world.queue = False, {}
    world.store.add(Job("tier1-1-aa", "tier1", ("fast",), "demand", "queued", world.now, world.now))
    world.live(5)
    assert "left the queue, and nothing behind" in world.store.find_results(job="tier1-1-aa")[0].text


def test_a_test_that_is_gone_is_not_known_and_closes_no_gate(world: World) -> None:
    world.live(FIRST + SPREAD)
    world.codes["fast"] = 2
    world.live(600)
    assert not world.gate().ok
    (world.folder / "own/fast.py").unlink()
    world.live(20)
    assert world.gate().ok
    world.store.add(Job("tier1-1-aa", "tier1", ("fast",), "demand", "wanted", world.now))
    world.live(5)
    job = world.store.find_job("tier1-1-aa")
    assert world.codes_of("fast")[0] == 3 and job is not None and job.state in (ENDED, DONE)


def test_closed_by_hand_until_its_time_is_over(world: World) -> None:
    world.store.close_gate(Closed("tier1", "new disks", world.now, world.now + 60))
    world.live(20)
    assert not world.gate().ok and world.gate().by_hand and not gate.is_open(world.folder / "gates", "tier1")
    world.live(60)
    assert world.gate().ok


def test_a_maintenance_that_is_planned_begins_and_ends_by_itself_whatever_tests_say(world: World) -> None:
    world.store.close_gate(Closed("tier1", "new disks", world.now + 60, world.now + 120))
    world.store.close_gate(Closed("tier1", "new tapes", world.now + 1000, None))
    world.live(40)
    assert world.gate().ok and [one.reason for one in world.store.find_closures(world.now)] == ["new disks", "new tapes"]
    world.live(40)
    assert not world.gate().ok and world.gate().reason == "closed by hand: new disks"
    world.live(60)
    assert world.gate().ok
    world.store.open_gate("tier1", world.now)
    world.live(1000)
    assert world.gate().ok and not world.store.find_closures(world.now)
    assert [(one.ok, one.by_hand) for one in world.store.find_changes(0)] == [(True, False), (False, True), (True, False)]


def test_a_gate_that_flaps_stays_closed_until_its_tests_have_passed_for_a_while(world: World) -> None:
    world.live(FIRST + SPREAD)
    for _ in range(FLAPS):
        world.codes["fast"] = 2
        while world.gate().ok:
            world.live(30)
        world.codes["fast"] = 0
        world.live(AGAIN + 10)
    assert not world.gate().ok and "this gate flaps" in world.gate().reason
    world.begin()  # what was is not forgotten
    world.live(2 * AGAIN + 20)
    assert world.gate().ok and world.codes_of("fast")[:4] == [0, 0, 0, 2]
    assert sum(not one.ok for one in world.store.find_changes(0)) == FLAPS


def test_a_gate_that_nobody_keeps_is_open(world: World) -> None:
    import os

    folder = world.folder / "gates"
    assert gate.is_open(folder, "tier1")
    gate.save(folder, "tier1", gate.Gate(False, 1.0, "broken"))
    assert not gate.is_open(folder, "tier1")
    os.utime(folder / "tier1.json", (1, 1))
    assert gate.is_open(folder, "tier1")
    for text in ("", "[]", "{}", '{"ok": false}'):
        (folder / "tier1.json").write_text(text)
        assert gate.is_open(folder, "tier1")


def test_old_results_go_but_for_the_last(world: World) -> None:
    world.live(FIRST + SPREAD + 1200)
    assert len(world.codes_of("fast")) == 3
    world.store.prune(world.now + 1)
    assert len(world.codes_of("fast")) == 1 and world.store.find_begun()


def test_what_is_in_a_report_has_a_history_of_its_own_and_is_judged_as_its_test(world: World) -> None:
    world.report = "tests: [{test: disk, passed: true, message: fine}, {test: net, passed: false, message: lost}]"
    world.live(FIRST + SPREAD)
    assert set(world.codes_of("fast/net")) == {2} and set(world.codes_of("fast/disk")) == {0} == set(world.codes_of("queue"))
    assert world.gate().reason == "fast: net: lost" and set(world.gate().tests) == {"fast", "queue"}
    world.begin()  # what was is not taken for tests
    world.live(AGAIN)
    assert set(world.gate().tests) == {"fast", "queue"} and not world.service._gates.frozen
    world.store.prune(world.now + 1)
    assert len(world.codes_of("fast")) == 1 and not world.codes_of("fast/net"), "a site names them as it likes"


def test_the_check_tells_of_files_that_are_no_tests(world: World) -> None:
    (world.folder / "own/odd.py").write_text("def test(:")
    world.live(20)
    assert "odd.py: is no Python" in json.loads((world.folder / "told.json").read_text())["faults"][0]


def test_what_is_asked_for_on_the_page_runs_now_and_once(world: World) -> None:
    world.live(FIRST + SPREAD)
    before = len(world.codes_of("fast"))
    asked = world.folder / "asked"
    asked.mkdir()
    world.add("rare", 86400)
    world.live(5)
    for name in ("tier1.fast", "tier1.rare", "tier1.nothing", "elsewhere.fast", "odd"):
        (asked / name).touch()
    world.live(20)
    assert len(world.codes_of("fast")) == before + 1 and world.jobs()[-1].tests == ("fast", "rare"), "in one job"
    assert [path.name for path in asked.iterdir()] == ["odd"]
