"""The program of the part, on the control node: the service, and what `farmlet sitetest` asks there. Answers are JSON.

python -m farmlet.parts.sitetests.command [--config FILE] service
python -m farmlet.parts.sitetests.command [--config FILE] list | run | show | close | open | history …
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import math
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any

from farmlet.errors import FarmletError, InputError
from farmlet.parts import gate
from farmlet.parts.sitetests import PACKAGE, suite, verbs
from farmlet.parts.sitetests.jobs.queue import Place, Queue, ssh
from farmlet.parts.sitetests.result import Result, clean
from farmlet.parts.sitetests.scheduler import DAY, Folders, Scheduler, Site, make
from farmlet.parts.sitetests.store import Closed, Job, Store
from farmlet.parts.sitetests.tokens import Minter

CONFIG = "/etc/farmlet/sitetests.json"
LOOK = 0.3  # seconds between looks at what became of a job


class Desk:
    """What an admin can ask, over the database of the service."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config
        self._sites = [site["name"] for site in config["sites"]]
        self._store = open_store(config)
        self._folders = find_folders(config)

    def list(self, options: argparse.Namespace) -> Any:
        try:
            told = json.loads(self._folders.told.read_text())
        except (OSError, ValueError):
            told = {"tests": [], "faults": ["the service has not begun yet: journalctl -u farmlet-sitetests"], "frozen": []}
        return told | {"sites": [self._describe(site) for site in self._sites]}

    def _describe(self, site: str) -> dict[str, Any]:
        jobs, seconds = self._store.find_cost(time.time() - DAY).get(site, (0, 0.0))
        found = gate.load(self._folders.gates, site) or gate.Gate(True, 0.0, "no test has ended yet")
        tests = [show(site, result) for result in self._store.find_results(site=site)]
        return {"site": site, "open": gate.is_open(self._folders.gates, site), "since": found.since} | {
            "reason": found.reason,
            "closures": [asdict(one) for one in self._store.find_closures(time.time(), site)],
            "day": {"jobs": jobs, "seconds": round(seconds, 1)},
            "tests": tests,
        }

    def run(self, options: argparse.Namespace) -> Any:
        known = suite.load(self._folders.shipped, self._folders.own, self._sites, self._config["every"])
        chosen = [test for test in known.tests.values() if options.test in ("", test.name)]
        sites = self._find_sites(options.site)
        if not chosen:
            told = next((fault for fault in known.faults if fault.startswith(f"{options.test}.")), "")
            raise InputError(f"sitetest {clean(options.test, 60)}", told or "there is no such test", "farmlet sitetest list")
        self._need_service()
        made = []
        for site in sites:
            if tests := [test for test in chosen if test.is_for(site)]:
                job = make(site, tests, "demand", time.time())
                self._store.add(job)
                made.append(job)
        if not made:
            raise InputError(f"sitetest {options.test}", f"is not for {options.site or 'any site'}", "`sites` in its header")
        return self._wait(made, options.wait)

    def _need_service(self) -> None:
        try:
            age = time.time() - self._folders.told.stat().st_mtime
        except OSError:
            age = gate.VALID
        if age >= gate.VALID:
            raise FarmletError("sitetest run", "the service does not live", "farmlet check sitetests")

    def _wait(self, made: Sequence[Job], seconds: float) -> Sequence[dict[str, Any]]:
        """The results of the jobs, as soon as all have ended."""
        until, open_, found = time.monotonic() + seconds, [*made], []
        while open_:
            for job in [*open_]:
                now = self._store.find_job(job.name)
                if now is not None and now.ended:
                    open_.remove(job)
                    found += [show(job.site, result) for result in self._store.find_results(job=job.name)]
            if open_ and time.monotonic() > until:
                sites = ", ".join(job.site for job in open_)
                hint = "it goes on: `farmlet sitetest show` tells when it is there"
                raise FarmletError("sitetest run", f"no result from {sites} within {seconds:g} s", hint)
            time.sleep(LOOK if open_ else 0)
        return found

    def show(self, options: argparse.Namespace) -> Any:
        if options.site:
            self._find_sites(options.site)
        rows = self._store.find_rows(options.site, options.test, last=min(max(options.last, 1), 10000))
        return [show(site, result) | {"output": result.output, "dropped": result.dropped} for site, result in rows]

    def close(self, options: argparse.Namespace) -> Any:
        self._find_sites(options.site)
        reason, hint = clean(options.reason, 300), '--reason "new disks" --start "2027-01-31 08:00" --hours 4'
        if not reason or not math.isfinite(options.hours) or options.hours < 0:
            raise InputError("sitetest close", "needs a reason, and hours from 0 on", hint)
        now = time.time()
        since = options.start or now
        until = since + options.hours * 3600 if options.hours else None
        if not math.isfinite(since) or (until is not None and until <= now):
            raise InputError("sitetest close", "would be over already: its end has passed", hint)
        self._store.close_gate(Closed(options.site, reason, since, until))
        return self._settle(options.site)

    def open(self, options: argparse.Namespace) -> Any:
        self._find_sites(options.site)
        self._store.open_gate(options.site, time.time())
        return self._settle(options.site)

    def history(self, options: argparse.Namespace) -> Any:
        if options.site:
            self._find_sites(options.site)
        return [asdict(one) for one in self._store.find_changes(time.time() - options.days * DAY, options.site)]

    def _settle(self, site: str) -> dict[str, Any]:
        """The site, when the service has seen what was changed."""
        wanted = site in self._store.find_closed(time.time())
        until = time.monotonic() + 30
        while time.monotonic() < until:
            found = gate.load(self._folders.gates, site)
            if (found is not None and found.by_hand) == wanted:
                return self._describe(site)
            time.sleep(LOOK)
        raise FarmletError(f"site {site}", "the service does not answer", "farmlet check sitetests")

    def _find_sites(self, name: str) -> Sequence[str]:
        if name and name not in self._sites:
            raise InputError(f"site {clean(name, 60)}", "is none that is tested", f"sites: {', '.join(self._sites) or 'none'}")
        return [name] if name else self._sites


def show(site: str, result: Result) -> dict[str, Any]:
    """A result as it is told, without the output."""
    numbers = {label: {"value": value, "unit": unit} for label, (value, unit) in result.numbers.items()}
    told = {name: getattr(result, name) for name in ("test", "code", "text", "at", "seconds", "host")}
    return {"site": site, **told, "result": result.word, "numbers": numbers}


def open_store(config: Mapping[str, Any]) -> Store:
    return Store(Path(config["state"]) / "results.sqlite3")


def find_folders(config: Mapping[str, Any]) -> Folders:
    return Folders(
        shipped=Path(str(files(PACKAGE).joinpath("shipped"))),
        own=Path(config["folder"]),
        gates=Path(config["gates"]),
        told=Path(config["state"]) / "told.json",
    )


def serve(config: Mapping[str, Any], secrets: str) -> None:
    """Test the sites until the process is ended. `secrets`: the folder of the key to sites and of the client's secret."""
    sites = {}
    for one in config["sites"]:
        place = Place(one["name"], one["host"], one["user"], config["at"])
        queue = Queue(place, ssh(place, f"{secrets}/key", config["known"]))
        sites[place.name] = Site(place.name, queue, config["environment"] | one["environment"])
    keep = config["keep_days"] * DAY
    pace = (config["every"], config["wait"], keep, config["share"])
    scheduler = Scheduler(sites, open_store(config), find_folders(config), *pace)
    if asked := config.get("token"):
        scheduler.mint = Minter(asked["issuer"], Path(secrets, "secret"), asked["audience"]).mint

    async def work() -> None:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        with suppress(asyncio.CancelledError):
            await scheduler.run()
        await scheduler.settle()
        logging.getLogger("farmlet.sitetests").info("ended")

    asyncio.run(work())


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="farmlet-sitetests", description="Tests of sites.")
    parser.add_argument("--config", default=CONFIG)
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("service")
    for action in verbs.ACTIONS:
        verbs.describe(actions.add_parser(action), action)
    options = parser.parse_args(arguments)
    config = json.loads(Path(options.config).read_text())
    if options.action == "service":
        logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
        serve(config, os.environ["CREDENTIALS_DIRECTORY"])
        return 0
    try:
        print(json.dumps(getattr(Desk(config), options.action)(options)))
    except FarmletError as error:
        print(f"{error.where}: {error.what}", *([f"hint: {error.hint}"] if error.hint else []), sep="\n", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
