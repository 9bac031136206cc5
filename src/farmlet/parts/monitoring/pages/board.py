"""What the page shows, as JSON: panels, alarms and nodes, out of the store. WSGI, behind the log-in.

GET /data?range=SECONDS[&node=NAME]   {"at", "range", "nodes", "node", "alarms", "panels": [{…, "series": [{"name", "points"}]}]}
GET /, /page.js, /page.css, /chart.js the page itself
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from farmlet.parts.monitoring.pages.store import Away, Store
from farmlet.web.guard import PERSON, Environ, Start, answer
from farmlet.web.headers import POLICY

HERE = Path(__file__).parent
CHART = "/usr/share/javascript/chart.js/chart.min.js"  # Debian's libjs-chart.js
FILES = {
    "/page.js": (str(HERE / "page.js"), "text/javascript; charset=utf-8"),
    "/page.css": (str(HERE / "page.css"), "text/css; charset=utf-8"),
    "/chart.js": (CHART, "text/javascript; charset=utf-8"),
}
SCRIPTED = f"{POLICY}; script-src 'self'; connect-src 'self'"
RANGES = (3600, 6 * 3600, 86400, 7 * 86400, 30 * 86400)  # seconds
POINTS = 240  # of a line
MOST = 20  # lines of a panel: what a person can tell apart, and no more
OWN = ("alertname", "alertstate", "alertgroup", "severity", "facility")  # labels that vmalert gives each alarm
FIRING = 'ALERTS{alertstate="firing"}'


class Board:
    """`panels`: as `panels.yaml` has them; `alarms`: name → severity and runbook; `nodes`: names; `seconds`: between samples."""

    def __init__(
        self,
        store: Store,
        title: str,
        panels: Sequence[Mapping[str, Any]],
        alarms: Sequence[Mapping[str, Any]],
        nodes: Sequence[str],
        seconds: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store, self._title, self._panels, self._alarms = store, title, panels, {one["name"]: one for one in alarms}
        self._nodes, self._seconds, self._clock = list(nodes), seconds, clock
        self._pool = ThreadPoolExecutor(max_workers=4, thread_name_prefix="panel")

    def __call__(self, environ: Environ, start: Start) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "/")
        if path in FILES:
            name, kind = FILES[path]
            return answer(start, 200, Path(name).read_bytes(), {"Content-Type": kind, "Cache-Control": "max-age=3600"})
        if path == "/data":
            return self._tell(dict(parse_qsl(environ.get("QUERY_STRING", ""))), start)
        if path != "/":
            return answer(start, 404, b"nothing here\n", {"Content-Type": "text/plain; charset=utf-8"})
        text = (HERE / "page.html").read_text()
        text = text.replace("TITLE", escape(self._title)).replace("PERSON", escape(environ[PERSON].name))
        headers = {"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": SCRIPTED}
        return answer(start, 200, text.encode(), headers)

    def _tell(self, query: Mapping[str, str], start: Start) -> Iterable[bytes]:
        text = query.get("range", "")
        span = int(text) if text in map(str, RANGES) else RANGES[0]
        node = query.get("node", "") if query.get("node", "") in self._nodes else ""
        try:
            found, status = self.look(span, node), 200
        except Away as away:
            found, status = {"fault": f"{away.where} {away.what}"}, 503
        return answer(start, status, json.dumps(found).encode(), {"Content-Type": "application/json"})

    def look(self, span: int, node: str = "") -> dict[str, Any]:
        """The facility at a glance, or the panels of one node. Raises Away."""
        now = self._clock()
        wanted = [panel for panel in self._panels if panel["page"] == ("node" if node else "facility")]
        series = list(self._pool.map(lambda panel: self._draw(panel, now, span, node), wanted))
        alarms = [self._describe(row["metric"]) for row in self._store.select_now(FIRING)]
        return {
            "at": round(now),
            "range": span,
            "ranges": RANGES,
            "node": node,
            "nodes": self._nodes,
            "alarms": sorted(alarms, key=lambda alarm: (alarm["severity"], alarm["name"], alarm["where"])),
            "watched": list(self._alarms.values()),
            "panels": [{**panel, "series": found} for panel, found in zip(wanted, series, strict=True)],
        }

    def _draw(self, panel: Mapping[str, Any], now: float, span: int, node: str) -> list[dict[str, Any]]:
        step = max(self._seconds, span / POINTS)
        query = fill(panel["query"], node, max(4 * self._seconds, step))
        rows = self._store.select(query, now - span, now, step)
        lines = [{"name": name_line(row["metric"]) or panel["title"], "points": read_points(row["values"])} for row in rows]
        return sorted(lines, key=lambda line: str(line["name"]))[:MOST]

    def _describe(self, labels: Mapping[str, str]) -> dict[str, Any]:
        name = labels.get("alertname", "")
        known = self._alarms.get(name, {})
        where = name_line({key: value for key, value in labels.items() if key not in OWN})
        return {"name": name, "severity": labels.get("severity", ""), "where": where, "runbook": known.get("runbook")}


def fill(query: str, node: str, window: float) -> str:
    """A panel's query for one node and a window of so many seconds."""
    return query.replace("$node", node).replace("$window", f"{window:.0f}s")


def name_line(labels: Mapping[str, str]) -> str:
    return ", ".join(value for key, value in sorted(labels.items()) if key not in ("__name__", "job", "instance"))


def read_points(values: Iterable[tuple[float, str]]) -> list[tuple[float, float]]:
    """What is no number (a share of nothing) is left out: JSON has no word for it."""
    return [(at, number) for at, text in values if math.isfinite(number := float(text))]
