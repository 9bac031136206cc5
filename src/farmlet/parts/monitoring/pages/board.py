"""What the pages show, as JSON: panels and alarms, out of the store. WSGI, behind the log-in.

GET /data?range=SECONDS[&page=NAME][&of=NAME]  {"at", "range", "title", "menu", "alarms", "panels": [{…, "series": […]}]}
GET /dashboards/PAGE.json                       Grafana's dashboards
GET /report.csv, /report.json?name=…&range=…    what admins are asked
GET /, /page.js, /page.css, /chart.js          the page itself

Members see the facility; what tells of single nodes and of members' numbers is for who administers.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from farmlet.parts.monitoring.pages import reports
from farmlet.parts.monitoring.pages.store import Away, Store
from farmlet.parts.monitoring.panels import PAGE, RECORDED, fill, is_wide, name_record
from farmlet.web.guard import PERSON, Environ, Start, answer
from farmlet.web.headers import POLICY
from farmlet.web.login import Person

HERE = Path(__file__).parent
CHART = "/usr/share/javascript/chart.js/chart.min.js"  # Debian's libjs-chart.js
FILES = {
    "/page.js": (str(HERE / "page.js"), "text/javascript; charset=utf-8"),
    "/page.css": (str(HERE / "page.css"), "text/css; charset=utf-8"),
    "/chart.js": (CHART, "text/javascript; charset=utf-8"),
}
DASHBOARDS = {f"/dashboards/{path.name}": path for path in (HERE.parent / "dashboards").glob("*.json")}
SCRIPTED = f"{POLICY}; script-src 'self'; connect-src 'self'"
RANGES = (3600, 6 * 3600, 86400, 7 * 86400, 30 * 86400)  # seconds
POINTS = 240  # of a line
MOST = 20  # lines of a panel: what a person can tell apart, and no more
OWN = ("alertname", "alertstate", "alertgroup", "severity", "facility")  # labels that vmalert gives each alarm
FIRING = 'ALERTS{alertstate="firing",severity!="none"}'
# of a page: its name in the menu, and above it; one for each node or site has the name in it
PAGES = {
    "facility": ("At a glance", "The facility at a glance"),
    "queue": ("Jobs", "Jobs"),
    "overlay": ("Drones", "Drones and sites"),
    "sitetests": ("Tests", "Tests of sites"),
    "notebooks": ("Notebooks", "Notebooks"),
    "storage": ("Storage", "Storage"),
    "report": ("Report", "Report"),
    "identity": ("Members", "Members, tokens and certificates"),
    "site": ("{}", "Site {}"),
    "node": ("{}", "Node {}"),
}
ADMINS = ("report", "identity", "node")


@dataclass(frozen=True)
class Content:
    """`panels`, `reports`: as their files have them; `alarms`: of each name, severity, runbook; `nodes`, `sites`: names;
    `admins`: groups as tokens name them; `seconds`: between samples; `url`: of the page."""

    title: str
    panels: Sequence[Mapping[str, Any]]
    alarms: Sequence[Mapping[str, Any]]
    nodes: Sequence[str]
    sites: Sequence[str] = ()
    admins: Sequence[str] = ()
    reports: Sequence[Mapping[str, Any]] = ()
    seconds: int = 15
    url: str = ""

    def administers(self, person: Person) -> bool:
        return not set(person.groups).isdisjoint(self.admins)

    def pages(self, admin: bool) -> Iterator[tuple[str, str]]:
        """What somebody may see: pages with the site or node that they are of, or ""."""
        names = {"site": self.sites, "node": self.nodes}
        for page in PAGES:
            if admin or page not in ADMINS:
                yield from ((page, of) for of in names.get(page, ("",)))


class Board:
    def __init__(self, store: Store, content: Content, clock: Callable[[], float] = time.time) -> None:
        self._store, self._content, self._clock = store, content, clock
        self._reports = reports.Reports(store, content.reports)
        self._pool = ThreadPoolExecutor(max_workers=4, thread_name_prefix="panel")

    def __call__(self, environ: Environ, start: Start) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "/")
        if path in FILES:
            name, kind = FILES[path]
            return answer(start, 200, Path(name).read_bytes(), {"Content-Type": kind, "Cache-Control": "max-age=3600"})
        query = dict(parse_qsl(environ.get("QUERY_STRING", "")))
        if path in DASHBOARDS and self._content.administers(environ[PERSON]):
            text = DASHBOARDS[path].read_text().replace(PAGE, self._content.url)
            return answer(start, 200, text.encode(), {"Content-Type": "application/json"})
        if path in ("/report.csv", "/report.json"):
            return self._report(path, query, environ[PERSON], start)
        if path == "/data":
            return self._tell(query, environ[PERSON], start)
        if path != "/":
            return answer(start, 404, b"nothing here\n", {"Content-Type": "text/plain; charset=utf-8"})
        text = (HERE / "page.html").read_text()
        text = text.replace("TITLE", escape(self._content.title)).replace("PERSON", escape(environ[PERSON].name))
        headers = {"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": SCRIPTED}
        return answer(start, 200, text.encode(), headers)

    def _tell(self, query: Mapping[str, str], person: Person, start: Start) -> Iterable[bytes]:
        text = query.get("range", "")
        span = int(text) if text in map(str, {*RANGES, *reports.RANGES}) else 0
        try:
            found, status = self.look(span, query.get("page", ""), query.get("of", ""), self._content.administers(person)), 200
        except Away as away:
            found, status = {"fault": f"{away.where} {away.what}"}, 503
        return answer(start, status, json.dumps(found).encode(), {"Content-Type": "application/json"})

    def _report(self, path: str, query: Mapping[str, str], person: Person, start: Start) -> Iterable[bytes]:
        """One report as a file."""
        if not self._content.administers(person):
            return answer(start, 403, b"this is for who administers\n", {"Content-Type": "text/plain; charset=utf-8"})
        text, name = query.get("range", ""), query.get("name", "")
        span = int(text) if text in map(str, reports.RANGES) else reports.USUAL
        try:
            found = self._reports.look(self._clock(), span, name)
        except Away as away:
            return answer(start, 503, f"{away.where} {away.what}\n".encode(), {"Content-Type": "text/plain; charset=utf-8"})
        if len(found) != 1:
            return answer(start, 404, b"no such report\n", {"Content-Type": "text/plain; charset=utf-8"})
        is_csv = path.endswith(".csv")
        data = reports.write_csv(found[0]) if is_csv else json.dumps({"range": span, **found[0]})
        headers = {"Content-Disposition": f'attachment; filename="{found[0]["name"]}.{path[8:]}"'}
        kind = "text/csv; charset=utf-8" if is_csv else "application/json"
        return answer(start, 200, data.encode(), {**headers, "Content-Type": kind})

    def look(self, span: int, page: str = "", of: str = "", admin: bool = False) -> dict[str, Any]:
        """A page, of one node or site; the facility at a glance instead of one that is not there or not theirs. Raises Away."""
        now, pages = self._clock(), list(self._content.pages(admin))
        here = page, of = (page, of) if (page, of) in pages else pages[0]
        ranges = reports.RANGES if page == "report" else RANGES
        span = span if span in ranges else reports.USUAL if page == "report" else RANGES[0]
        wanted = [panel for panel in self._content.panels if panel["page"] == page]
        series = list(self._pool.map(lambda panel: self._draw(panel, now, span, of), wanted))
        return {
            "at": round(now),
            "range": span,
            "ranges": ranges,
            "title": PAGES[page][1].format(of),
            "menu": [
                {"page": one, "of": whose, "name": PAGES[one][0].format(whose), "here": (one, whose) == here}
                for one, whose in pages
            ],
            "admin": admin,
            "alarms": self._list_alarms(admin),
            "watched": list(self._content.alarms) if admin else [],
            "reports": self._reports.look(now, span) if page == "report" else [],
            "panels": [{**panel, "series": found} for panel, found in zip(wanted, series, strict=True)],
        }

    def _draw(self, panel: Mapping[str, Any], now: float, span: int, of: str) -> list[dict[str, Any]]:
        step = max(self._content.seconds, span / POINTS)
        query = fill(panel["query"], of, max(4 * self._content.seconds, step))
        if is_wide(panel):
            kept = f"max without (facility) ({name_record(panel)})"  # vmalert puts the facility's name to them
            query = cut(panel, kept if step >= RECORDED else query)
        rows = self._store.select(query, now - span, now, step)
        lines = [{"name": name_line(row["metric"]) or panel["title"], "points": read_points(row["values"])} for row in rows]
        return sorted(lines, key=lambda line: str(line["name"]))[:MOST]

    def _list_alarms(self, admin: bool) -> list[dict[str, Any]]:
        """What fires. Where on a node, and what to do, is told to who can do it."""
        known = {one["name"]: one for one in self._content.alarms}
        found = []
        for labels in (row["metric"] for row in self._store.select_now(FIRING)):
            name = labels.get("alertname", "")
            shown = {key: value for key, value in labels.items() if key not in OWN and (admin or key in ("node", "site"))}
            alarm = {"name": name, "severity": labels.get("severity", ""), "where": name_line(shown)}
            found.append(alarm | ({"runbook": known.get(name, {}).get("runbook")} if admin else {}))
        return sorted(found, key=lambda alarm: (alarm["severity"], alarm["name"], alarm["where"]))


def cut(panel: Mapping[str, Any], query: str) -> str:
    """Only as many lines as are drawn, and of more the worst (MetricsQL)."""
    return f"bottomk_min({MOST}, {query})" if "bad_below" in panel else f"topk_max({MOST}, {query})"


def name_line(labels: Mapping[str, str]) -> str:
    return ", ".join(value for key, value in sorted(labels.items()) if key not in ("__name__", "job", "instance"))


def read_points(values: Iterable[tuple[float, str]]) -> list[tuple[float, float]]:
    """What is no number (a share of nothing) is left out: JSON has no word for it."""
    return [(at, number) for at, text in values if math.isfinite(number := float(text))]
