"""What the agent counts: it runs the node's metrics and leaves their numbers in a folder. Standard library only.

Each metric has a file of its own there, in the text format that prometheus-node-exporter reads; `metrics.prom` tells which
worked, `checks.prom` what the node's checks said. One that fails or hangs has no file, so that no old number looks like a new.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from farmlet.parts.base.tasks import Call, load
from farmlet.runtime.files import write
from farmlet.runtime.metrics import MOST, Sample, cut, render

SECONDS = 10.0  # how long one metric may take
LOOK = 0.5  # seconds between looks at files that metrics watch
OWN = ("checks", "metrics")
log = logging.getLogger("farmlet.agent")


def _sign(path: str) -> object:
    """What changes when the file does; None while there is none."""
    with suppress(OSError):
        info = Path(path).stat()
        return info.st_mtime_ns, info.st_ino
    return None


class Run:
    """One run of a metric, in a thread that nobody waits for too long. `text` is there when it ended well, else `fault`; `lost`:
    numbers that were left out of it, by name."""

    def __init__(self, call: Call) -> None:
        self.call, self.text, self.fault = call, "", ""
        self.lost = Counter[str]()
        self.began, self.seconds = time.monotonic(), SECONDS
        self._thread = threading.Thread(target=self._work, name=call.name, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            kept, self.lost = cut(self.call.resolve()(**self.call.args))
            self.text = render(kept)
        except Exception as error:  # whatever it is, it costs this metric alone
            self.fault = str(error) or type(error).__name__
        self.seconds = time.monotonic() - self.began

    def wait(self, end: float) -> bool:
        """Whether it has ended, by the monotonic time `end` at the latest."""
        self._thread.join(max(0.0, end - time.monotonic()))
        return not self._thread.is_alive()


class Collector:
    """Keeps the numbers of a node in `folder`, which is made when it is missing. A metric that hangs is not started twice."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: dict[str, Run] = {}
        self._told: dict[str, str] = {}

    def work(self, tasks: Path, every: float, stop: threading.Event) -> None:
        """Run the metrics that the files of the folder `tasks` list, each `every` seconds until `stop`."""
        while not stop.is_set():
            calls = load(tasks).metrics
            seen = {call.name: _sign(call.watch) for call in calls if call.watch}
            with self._telling():
                self.collect(calls)
            self._watch([call for call in calls if call.watch], seen, time.monotonic() + every, stop)

    def _watch(self, calls: Sequence[Call], seen: dict[str, object], end: float, stop: threading.Event) -> None:
        """Until `end`, count again what watches a file that is not as it was `seen`."""
        while (left := end - time.monotonic()) > 0 and not stop.wait(min(left, LOOK) if calls else left):
            for call in calls:
                if call.name not in self._running and (mark := _sign(call.watch)) != seen[call.name]:
                    seen[call.name] = mark
                    with self._telling():
                        self._finish(self._begin(call), time.monotonic() + SECONDS)

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            log.warning("numbers are not written: %s", error)

    def collect(self, calls: Sequence[Call]) -> None:
        """Run all metrics side by side and write what they say; takes at most `SECONDS`, and then some for the disk."""
        runs = [self._begin(call) for call in calls]
        end = time.monotonic() + SECONDS
        faults = {run.call.name: self._finish(run, end) for run in runs}
        told = {run.call.name: f"of {name} only the first {MOST} are kept" for run in runs for name in run.lost}
        self._tell(told | {name: fault for name, fault in faults.items() if fault})
        states = [Sample("metric_ok", not faults[run.call.name], {"metric": run.call.name}) for run in runs]
        times = [Sample("metric", run.seconds, {"metric": run.call.name}, "seconds") for run in runs]
        help_ = "numbers left out, since there were too many of a name"
        lost = [Sample("metric_cut", run.lost.total(), {"metric": run.call.name}, help=help_) for run in runs]
        self._write("metrics", render([*states, *times, *lost]))
        self._forget({call.name for call in calls})

    def record(self, results: Iterable[Mapping[str, Any]]) -> None:
        """Write what the checks said, as the control API takes it; where that cannot be written, `work` tells why."""
        rows = list({str(row["check"]): row for row in results}.items())
        states = [Sample("check_ok", row["ok"], {"check": name}, help="1 if the check holds") for name, row in rows]
        times = [Sample("check", row["seconds"], {"check": name}, "seconds", help="how long it took") for name, row in rows]
        # one number: with those of all checks of many nodes a page would take long
        failing = Sample("checks_failing", sum(not row["ok"] for _, row in rows), help="how many checks do not hold")
        with suppress(OSError):
            self._write("checks", render([*states, *times, failing]))

    def _begin(self, call: Call) -> Run:
        if call.name not in self._running:
            self._running[call.name] = Run(call)
        return self._running[call.name]

    def _finish(self, run: Run, end: float) -> str:
        """What went wrong with it, or ""."""
        name = run.call.name
        if not run.wait(end):
            self._path(name).unlink(missing_ok=True)
            return f"no answer within {SECONDS:.0f} s"
        del self._running[name]
        if run.fault:
            self._path(name).unlink(missing_ok=True)
        else:
            self._write(name, run.text)
        return run.fault

    def _tell(self, faults: dict[str, str]) -> None:
        """Log what is new, once."""
        for name, fault in faults.items():
            if self._told.get(name) != fault:
                log.warning("metric %s: %s", name, fault)
        self._told = faults

    def _forget(self, names: set[str]) -> None:
        self._running = {name: run for name, run in self._running.items() if name in names}
        for path in self._folder.glob("*.prom"):
            if path.stem not in names and path.stem not in OWN:
                path.unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.prom"

    def _write(self, name: str, text: str) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        write(self._path(name), text.encode())
