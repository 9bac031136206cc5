"""One line for everybody: whether the facility is well. No names, no numbers but those of alarms. WSGI, before the log-in."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from farmlet.parts.monitoring.pages.store import Away, Store
from farmlet.web.guard import Environ, Start, answer

PATHS = ("/status", "/status.json")
KEPT = 15.0  # seconds: whoever asks how often costs the store one question
QUERY = 'count by (severity) (ALERTS{alertstate="firing",severity!="none"})'


class Status:
    def __init__(self, store: Store, title: str, clock: Callable[[], float] = time.time) -> None:
        self._store, self._title, self._clock = store, title, clock
        self._lock, self._found = threading.Lock(), dict[str, Any]()

    def __call__(self, environ: Environ, start: Start) -> Iterable[bytes]:
        found = self.look()
        code = 503 if found["status"] == "unknown" else 200
        if environ.get("PATH_INFO") == "/status.json":
            return answer(start, code, json.dumps(found).encode(), {"Content-Type": "application/json"})
        when = time.strftime("%H:%M:%S", time.gmtime(found["at"]))
        line = f"{self._title}: {describe(found)} ({when} UTC)\n"
        return answer(start, code, line.encode(), {"Content-Type": "text/plain; charset=utf-8"})

    def look(self) -> dict[str, Any]:
        """{"status": well, warning, critical or unknown; "critical", "warning": alarms; "at": seconds since 1970}."""
        with self._lock:
            if not self._found or self._clock() - self._found["at"] >= KEPT:
                self._found = self._ask() | {"at": round(self._clock())}
            return self._found

    def _ask(self) -> dict[str, Any]:
        try:
            counts = {row["metric"].get("severity"): int(float(row["value"][1])) for row in self._store.select_now(QUERY)}
        except Away:
            return {"status": "unknown", "critical": 0, "warning": 0}
        critical, warning = counts.get("critical", 0), counts.get("warning", 0)
        return {"status": "critical" if critical else "warning" if warning else "well", "critical": critical, "warning": warning}


def describe(found: dict[str, Any]) -> str:
    if found["status"] == "well":
        return "all is well"
    if found["status"] == "unknown":
        return "not known just now"
    counts = [(found[kind], kind) for kind in ("critical", "warning") if found[kind]]
    return f"{' and '.join(f'{count} {kind}' for count, kind in counts)} alarm{'s' if sum(n for n, _ in counts) > 1 else ''}"
