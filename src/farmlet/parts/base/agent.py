"""The node agent: one small root process a node, which pulls. Standard library only.

It fetches what the hub wants on this node, brings it in place, hands the hub what the node has to say, and runs the
node's checks. What it may do stands in this node's own duties; nobody can send it a command. Without the hub it goes on
with what it has and asks again, at most 5 s later.

    python -m farmlet.parts.base.agent [--config FILE]                    the service
    python -m farmlet.parts.base.agent [--config FILE] --check [NAME…]    run the checks now, print them as JSON
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
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from farmlet.errors import FarmletError
from farmlet.parts.base import duties
from farmlet.parts.base.courier import Courier, Parcel, Unreachable
from farmlet.parts.base.duties import Call, Delivery, Duties
from farmlet.runtime.checks import Failed
from farmlet.runtime.files import write

CONFIG = "/etc/farmlet/agent.json"
BACKOFF = 5.0
LOOK_SECONDS = 5.0  # after which all is gone through though nothing changed
POLL_SECONDS = 50
CHECK_SECONDS = 10.0  # how long one check may take
THEN_SECONDS = 60
log = logging.getLogger("farmlet.agent")


class Ledger:
    """What was brought about, by item: survives the agent, so a step cut off half-way is done again, a done one not."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            loaded = json.loads(path.read_text())
            self._done: dict[str, str] = loaded if isinstance(loaded, dict) else {}
        except (OSError, ValueError):
            self._done = {}

    def has(self, name: str, mark: str) -> bool:
        return self._done.get(name) == mark

    def note(self, name: str, mark: str) -> None:
        self._done[name] = mark
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write(self._path, json.dumps(self._done, indent=1).encode(), 0o600)


class Executor:
    """Brings items in place: files with their commands, and the functions of `apply`."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._applied: dict[str, str] = {}  # not kept: each start applies again, which mends what was changed by hand

    def work(self, items: Mapping[str, bytes], wanted: Duties) -> list[str]:
        """Do all duties for `items`; returns what went wrong, which the caller is to try again."""
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
            _run(argv)
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


def _run(argv: Sequence[str]) -> None:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=THEN_SECONDS, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired as error:
        raise FarmletError(argv[0], f"did not end within {THEN_SECONDS} s") from error
    if done.returncode:
        raise FarmletError(" ".join(argv), f"ended with {done.returncode}: {done.stderr.strip()[-300:]}")


class Examiner:
    """Runs checks side by side. One that hangs is told as failed and not started again before it ended."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=4, thread_name_prefix="check")
        self._running: dict[str, Future[dict[str, Any]]] = {}

    def examine(self, checks: Sequence[Call]) -> list[dict[str, Any]]:
        """Results as the hub takes them; `at` is seconds since 1970, `seconds` how long the check took."""
        for check in checks:
            if check.name not in self._running:
                self._running[check.name] = self._pool.submit(_examine, check)
        wait([self._running[check.name] for check in checks], timeout=CHECK_SECONDS)
        results = []
        for check in checks:
            future = self._running[check.name]
            if future.done():
                results.append(future.result())
                del self._running[check.name]
            else:
                results.append(_result(check, False, f"no answer within {CHECK_SECONDS:.0f} s", CHECK_SECONDS))
        return results


def _examine(check: Call) -> dict[str, Any]:
    start = time.monotonic()
    try:
        ok, evidence = True, str(check.resolve()(**check.args))
    except Failed as failed:
        ok, evidence = False, str(failed)
    except Exception as error:  # a broken check is a finding too
        ok, evidence = False, f"{type(error).__name__}: {error}"
    return _result(check, ok, evidence, time.monotonic() - start)


def _result(check: Call, ok: bool, evidence: str, seconds: float) -> dict[str, Any]:
    return {
        "check": check.name,
        "ok": ok,
        "evidence": evidence,
        "seconds": round(seconds, 3),
        "at": round(time.time(), 1),
    }


class Agent:
    """The service. `folder` holds the duties, `state` what the agent remembers; `every` is the seconds between checks."""

    def __init__(self, courier: Courier, folder: Path, state: Path, every: float = 15.0) -> None:
        self._courier, self._folder, self._every = courier, folder, every
        self._executor = Executor(Ledger(state / "done.json"))
        self._examiner = Examiner()
        self._stop = threading.Event()
        # signal handlers put here: a SimpleQueue is the one thing in `queue` and `threading` made for that
        self._calls: SimpleQueue[str] = SimpleQueue()
        self._parcel = Parcel("", {})
        self._published: dict[str, str] = {}

    def run(self) -> None:
        """Work until `stop`."""
        for loop in (self._fetch, self._mind):
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
                self._parcel = self._courier.fetch(self._parcel, POLL_SECONDS)
                if delay:
                    log.info("the hub answers again")
                delay = 0.0
            except Exception as error:  # whatever it is: an agent that ended mends nothing
                if not delay:  # say it once, not at every attempt
                    log.warning("%s", error)
                delay = min(max(2 * delay, 0.5), BACKOFF)

    def _mind(self) -> None:
        """Watch what is wanted, the duties and the files to publish; all are cheap to look at.

        Now and then all is gone through even though nothing changed: what someone removed by hand is put back.
        """
        done: tuple[object, ...] = ()
        due = 0.0
        told: list[str] = []
        delay = 0.0
        while not self._stop.wait(delay):
            parcel, marks = self._parcel, duties.sign(self._folder)
            faults: list[str] = []
            try:
                wanted = duties.load(self._folder)
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

    def _publish(self, wanted: Duties) -> list[str]:
        faults = []
        for name, path in wanted.publish.items():
            try:
                data = path.read_bytes()
            except OSError:
                continue  # not made yet; it is published as soon as it is there
            mark = _digest(data, name)
            if self._published.get(name) != mark:
                try:
                    self._courier.publish(name, data)
                    self._published[name] = mark
                except Unreachable as error:
                    faults.append(str(error))
        return faults

    def _examine(self) -> None:
        results = self._examiner.examine(duties.load(self._folder).checks)
        try:
            self._courier.report(results)
        except Unreachable as error:
            log.info("results are not handed in: %s", error.what)


def check(folder: Path, names: Sequence[str]) -> list[dict[str, Any]]:
    """The results of the node's checks, now: all, or those of the names (`part` means all `part.…`)."""
    chosen = [
        call
        for call in duties.load(folder).checks
        if not names or any(call.name == name or call.name.startswith(f"{name}.") for name in names)
    ]
    return Examiner().examine(chosen)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="farmlet-agent", description="The node agent of Farmlet.")
    parser.add_argument("--config", default=CONFIG)
    parser.add_argument("--check", nargs="*", metavar="NAME", help="run the node's checks now and print them as JSON")
    options = parser.parse_args(arguments)
    config = json.loads(Path(options.config).read_text())
    folder = Path(config["duties"])
    if options.check is not None:
        results = check(folder, options.check)
        print(json.dumps(results), flush=True)
        return 0 if all(result["ok"] for result in results) else 1
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    courier = Courier(config["hub"], config["ca"], config["certificate"], config["key"])
    agent = Agent(courier, folder, Path(config["state"]), config["every"])
    signal.signal(signal.SIGHUP, lambda *_: agent.hurry())
    signal.signal(signal.SIGTERM, lambda *_: agent.stop())
    agent.run()
    return 0


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)  # a check that hangs in its thread must not keep the process; what matters is on disk already
