"""The node agent: one small root process a node, which pulls. Standard library only.

It fetches what the control API wants on this node, brings it in place, hands back what the node has to say, and runs the
node's checks and metrics. What it may do stands in this node's own tasks; nobody can send it a command. Without the control
API it goes on with what it has and asks again, at most 5 s later.

    python -m farmlet.parts.base.agent [--config FILE]                    the service
    python -m farmlet.parts.base.agent [--config FILE] --check [NAME…]    run all or these checks now, print results as JSON
"""

from __future__ import annotations

import argparse
import grp
import hashlib
import json
import logging
import os
import pwd
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from farmlet.parts.base import tasks
from farmlet.parts.base.client import Client, Parcel, Unreachable
from farmlet.parts.base.collector import Collector
from farmlet.parts.base.examiner import Examiner
from farmlet.parts.base.ledger import Ledger
from farmlet.parts.base.renewal import Renewer
from farmlet.parts.base.tasks import Call, Delivery, Tasks
from farmlet.runtime.files import write
from farmlet.runtime.program import run

CONFIG = "/etc/farmlet/agent.json"
BACKOFF = 5.0
LOOK_SECONDS = 5.0  # after which all is gone through though nothing changed
POLL_SECONDS = 50
RENEW_SECONDS = 600  # between looks at the certificates
log = logging.getLogger("farmlet.agent")


class Executor:
    """Brings items in place: files with their commands, and the functions of `apply`."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._applied: dict[str, str] = {}  # not kept: each start applies again, which mends what was changed by hand

    def work(self, items: Mapping[str, bytes], wanted: Tasks) -> list[str]:
        """Do all tasks for `items`; returns what went wrong, which the caller is to try again."""
        steps: list[tuple[str, Callable[[], None]]] = []
        for name, delivery in wanted.deliver.items():
            if name in items:
                steps.append((name, partial(self._deliver, name, items[name], delivery)))
        for call in wanted.apply:
            if call.name in items:
                steps.append((call.name, partial(self._apply, items[call.name], call)))
        faults = []
        for name, step in steps:
            try:
                step()
            except Exception as error:  # one item's trouble must not keep the others back
                faults.append(f"item {name}: {error}")
        return faults

    def _deliver(self, name: str, data: bytes, delivery: Delivery) -> None:
        mark = _digest(data, repr(delivery))
        if self._ledger.has(name, mark) and _equals(delivery, data):
            return
        owner = (pwd.getpwnam(delivery.owner).pw_uid, grp.getgrnam(delivery.group).gr_gid)
        delivery.path.parent.mkdir(parents=True, exist_ok=True)
        write(delivery.path, data, delivery.mode, owner)
        for argv in delivery.then:
            run(argv, " ".join(argv))
        self._ledger.note(name, mark)
        log.info("item %s is at %s", name, delivery.path)

    def _apply(self, data: bytes, call: Call) -> None:
        name, mark = f"{call.name} {call.target}", _digest(data, repr(call))
        known = self._applied.get(name) == mark
        if known and not call.again:
            return
        call.resolve()(data, **call.args)
        self._applied[name] = mark
        if not known:
            log.info("item %s is applied by %s", call.name, call.target)


def _digest(data: bytes, text: str) -> str:
    found = hashlib.sha256(data)
    found.update(text.encode())
    return found.hexdigest()


def _equals(delivery: Delivery, data: bytes) -> bool:
    try:
        return delivery.path.read_bytes() == data
    except OSError:
        return False


class Agent:
    """The service. `ca`: whom the node trusts (path); `folder` holds the tasks, `state` what the agent remembers, `metrics` the
    numbers of the node; `every` is the seconds between checks."""

    def __init__(self, client: Client, ca: str, folder: Path, state: Path, metrics: Path, every: float = 15.0) -> None:
        self._client, self._folder, self._every = client, folder, every
        self._collector = Collector(metrics)
        self._executor = Executor(Ledger(state / "done.json"))
        self._renewer = Renewer(client, ca, Ledger(state / "renewed.json"))
        self._examiner = Examiner()
        self._stop = threading.Event()
        # signal handlers put here: a SimpleQueue is the one thing in `queue` and `threading` made for that
        self._calls: SimpleQueue[str] = SimpleQueue()
        self._parcel = Parcel("", {})
        self._published: dict[str, str] = {}

    def run(self) -> None:
        """Work until `stop`."""
        for loop in (self._fetch, self._mind, self._count, self._renew):
            threading.Thread(target=loop, daemon=True, name=loop.__name__.strip("_")).start()
        while not self._stop.is_set():
            self._examine()
            try:
                if self._calls.get(timeout=self._every) == "stop":
                    self._stop.set()
            except Empty:
                pass

    def stop(self) -> None:
        """End soon. Safe in a signal handler."""
        self._calls.put("stop")

    def hurry(self) -> None:
        """Run the checks now. Safe in a signal handler."""
        self._calls.put("check")

    def _fetch(self) -> None:
        delay = 0.0
        while not self._stop.wait(delay):
            try:
                self._parcel = self._client.fetch(self._parcel, POLL_SECONDS)
                if delay:
                    log.info("the control API answers again")
                delay = 0.0
            except Exception as error:  # whatever it is: an agent that ended mends nothing
                if not delay:  # say it once, not at every attempt
                    log.warning("%s", error)
                delay = min(max(2 * delay, 0.5), BACKOFF)

    def _mind(self) -> None:
        """Watch what is wanted, the tasks and the files to publish; all are cheap to look at.

        Now and then all is gone through even though nothing changed: what someone removed by hand is put back.
        """
        done: tuple[object, ...] = ()
        due = 0.0
        told: list[str] = []
        delay = 0.0
        wanted, read = tasks.load(self._folder), tasks.sign(self._folder)
        while not self._stop.wait(delay):
            parcel, marks = self._parcel, tasks.sign(self._folder)
            faults: list[str] = []
            try:
                if marks != read or wanted.faults:
                    wanted, read = tasks.load(self._folder), marks
                if done != (parcel.version, marks) or time.monotonic() > due:
                    due = time.monotonic() + LOOK_SECONDS
                    faults = [*wanted.faults, *self._executor.work(parcel.items, wanted)]
                done = () if faults else (parcel.version, marks)
                faults += self._publish(wanted)
            except Exception as error:
                faults.append(repr(error))
            if faults != told:
                for fault in faults:
                    log.warning("%s", fault)
                told = faults
            delay = BACKOFF if faults else 0.5

    def _publish(self, wanted: Tasks) -> list[str]:
        faults = []
        for name, path in wanted.publish.items():
            try:
                data = path.read_bytes()
            except OSError:
                continue  # not made yet; it is published as soon as it is there
            mark = _digest(data, name)
            if self._published.get(name) != mark:
                try:
                    self._client.publish(name, data)
                    self._published[name] = mark
                except Unreachable as error:
                    faults.append(str(error))
        return faults

    def _count(self) -> None:
        self._collector.work(self._folder, self._every, self._stop)

    def _renew(self) -> None:
        """Look at the node's certificates now and then; there are days for it, so a fault is told once and tried again."""
        told: list[str] = []
        while not self._stop.is_set():
            faults = self._renewer.work(tasks.load(self._folder).renew)
            if faults != told:
                for fault in faults:
                    log.warning("%s", fault)
                told = faults
            self._stop.wait(RENEW_SECONDS)

    def _examine(self) -> None:
        results = self._examiner.examine(tasks.load(self._folder).checks)
        self._collector.record(results)
        try:
            self._client.report(results)
        except Unreachable as error:
            log.info("results are not handed in: %s", error.what)


def check(folder: Path, names: Sequence[str]) -> list[dict[str, Any]]:
    """The results of the node's checks, now: all, or those of the names (`part` means all `part.…`)."""
    chosen = [
        call
        for call in tasks.load(folder).checks
        if not names or any(call.name == name or call.name.startswith(f"{name}.") for name in names)
    ]
    return Examiner().examine(chosen)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="farmlet-agent", description="The node agent of Farmlet.")
    parser.add_argument("--config", default=CONFIG)
    parser.add_argument("--check", nargs="*", metavar="NAME", help="run the checks of these names (or all) now, as JSON")
    options = parser.parse_args(arguments)
    config = json.loads(Path(options.config).read_text())
    folder = Path(config["tasks"])
    if options.check is not None:
        results = check(folder, options.check)
        print(json.dumps(results), flush=True)
        return 0 if all(result["ok"] for result in results) else 1
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    client = Client(config["control"], config["ca"], config["certificate"], config["key"])
    agent = Agent(client, config["ca"], folder, Path(config["state"]), Path(config["metrics"]), config["every"])
    signal.signal(signal.SIGHUP, lambda *_: agent.hurry())
    signal.signal(signal.SIGTERM, lambda *_: agent.stop())
    agent.run()
    return 0


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)  # a check that hangs in its thread must not keep the process; what matters is on disk already
