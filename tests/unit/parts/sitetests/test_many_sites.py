"""A fault of ours fails tests at all sites, one after another: no gate closes. A site's own fault closes its gate alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import pytest

from farmlet.parts import gate
from farmlet.parts.sitetests.checks import check_service, check_site
from farmlet.parts.sitetests.jobs.queue import Unreachable, View
from farmlet.parts.sitetests.metrics import measure
from farmlet.parts.sitetests.result import CRITICAL, OK
from farmlet.parts.sitetests.scheduler import AGAIN, FIRST, Folders, Scheduler, Site
from farmlet.parts.sitetests.store import Store
from farmlet.runtime.checks import Failed

EVERY = 900
NAMES = [f"s{number:02}" for number in range(12)]


class Queue:
    """A site's queue: each job ends at once, unless the site is away."""

    def __init__(self, fleet: Fleet, site: str) -> None:
        self.fleet, self.site, self.process = fleet, site, None

    async def submit(self, jobs: Mapping[str, Mapping[str, bytes]]) -> None:
        if self.site in self.fleet.away:
            raise Unreachable("the submit host: Connection refused")

    def hurry(self) -> None:
        pass

    async def look(self, names: Collection[str], gone: Collection[str]) -> View:
        await self.submit({})
        return View(results={name: self.tell(name) for name in names})

    def tell(self, name: str) -> bytes:
        job = self.fleet.store.find_job(name)
        assert job is not None
        rows = []
        for test in job.tests:
            code = CRITICAL if (self.site, test) in self.fleet.broken else OK
            rows.append(
                {"name": test, "code": code, "text": "text", "at": self.fleet.now, "seconds": 1, "output": "", "dropped": 0}
            )
        return json.dumps({"host": "wn1", "results": rows}).encode()


class Fleet:
    """Twelve sites with two tests, each tested once in a quarter of an hour. `broken`: (site, test)."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.now = folder, 1_800_000_000.0
        self.broken, self.away = set[tuple[str, str]](), set[str]()
        for name in ("none", "own", "gates"):
            (folder / name).mkdir()
        for name in ("storage", "clock"):
            (folder / f"own/{name}.py").write_text("def test(): pass\n")
        self.store = Store(folder / "results.sqlite3")
        self.store._base.execute("PRAGMA synchronous = OFF")  # no power fails here
        self.folders = Folders(folder / "none", folder / "own", folder / "gates", folder / "told.json")
        self.begin()

    def begin(self) -> None:
        self.sites = {name: Site(name, Queue(self, name), {}) for name in NAMES}
        self.service = Scheduler(self.sites, self.store, self.folders, EVERY, 300, 86400, 10, clock=lambda: self.now)

    def live(self, seconds: float) -> None:
        async def work() -> None:
            until = self.now + seconds
            while self.now < until:
                self.now += 5
                self.service.tick()
                while any(site.busy for site in self.sites.values()):
                    await asyncio.sleep(0)

        asyncio.run(work())

    def shut(self) -> set[str]:
        return {name for name in NAMES if (found := gate.load(self.folder / "gates", name)) is not None and not found.ok}

    def complain(self) -> list[str]:
        """The checks that fail."""
        found, told = [], str(self.folder / "told.json")
        for name in NAMES:
            try:
                check_site(str(self.folder / "gates"), name, told)
            except Failed:
                found.append(name)
        try:
            check_service(told)
        except Failed as failed:
            found.append(str(failed))
        return found


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    found = Fleet(tmp_path)
    found.live(FIRST + EVERY + 30)
    assert not found.shut() and not found.complain()
    yield found
    found.store.close()


def test_storage_fails_everywhere_and_no_gate_closes_but_one_alarm_says_so(fleet: Fleet) -> None:
    fleet.broken = {(name, "storage") for name in NAMES}
    shut, seen = set[str](), False
    for _ in range(EVERY // 30 + 10):
        fleet.live(30)
        shut |= fleet.shut()
        if seen := seen or fleet.service._gates.frozen == {"storage"}:
            assert fleet.service._gates.frozen == {"storage"}
    assert seen and not shut
    # by these numbers alarms are raised: the checks of sites hold, their gates are open, and one test is frozen
    numbers = measure(str(fleet.folder / "gates"), NAMES, str(fleet.folder / "told.json"))
    assert [one.labels["test"] for one in numbers if one.name == "sitetests_frozen" and one.value] == ["storage"]
    assert {one.value for one in numbers if one.name == "sitetests_open"} == {1}
    (alarm,) = fleet.complain()
    assert "a fault of our own, and moves no gate: storage" in alarm
    fleet.begin()  # after a restart too
    fleet.live(2 * AGAIN)
    assert not fleet.shut() and fleet.service._gates.frozen == {"storage"}
    fleet.broken = set()
    fleet.live(2 * AGAIN)
    assert not fleet.service._gates.frozen and not fleet.complain()


def test_what_breaks_at_one_site_closes_its_gate_soon_and_no_other(fleet: Fleet) -> None:
    fleet.broken = {("s03", "clock")}
    fleet.service._order("s03", ["clock"])
    fleet.live(30)
    assert fleet.shut() == {"s03"} and fleet.complain() == ["s03"]
    fleet.broken = set()
    fleet.live(AGAIN + 10)
    assert not fleet.shut() and not fleet.complain()


def test_sites_that_are_broken_since_long_do_not_hide_another_that_breaks(fleet: Fleet) -> None:
    old = NAMES[:5]
    fleet.broken = {(name, "clock") for name in old}
    for name in old:
        fleet.service._order(name, ["clock"])
        fleet.live(700)
    assert fleet.shut() == set(old)
    fleet.broken |= {("s09", "clock")}
    fleet.service._order("s09", ["clock"])
    fleet.live(30)
    assert fleet.shut() == {*old, "s09"}


def test_no_site_can_be_reached_which_is_ours(fleet: Fleet) -> None:
    fleet.away = set(NAMES)
    fleet.live(EVERY)
    assert not fleet.shut() and fleet.service._gates.frozen == {"queue"}
    fleet.away = {"s01"}
    fleet.live(4 * AGAIN)
    assert fleet.shut() == {"s01"} and not fleet.service._gates.frozen
