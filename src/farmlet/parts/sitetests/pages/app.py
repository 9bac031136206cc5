"""The web service of site tests; what gunicorn is told to call. WSGI, behind the log-in.

GET /[?page=N&find=TEXT]            all sites: the last result of each test, and what came before it
GET /site?name=SITE[&range=SECONDS] one site: tests × time, when its gate closed, what is planned
GET /test?name=TEST[&range=SECONDS] one test: sites × time
POST /run  site=SITE&test=TEST     admins: the test is to run there now
GET /result?site=SITE&test=TEST[&from=S&to=S | &at=S]   what one run found: the last, the worst of a time, or that stored then

It reads the service's database and files, and writes nothing but which test is to run. What sites say is escaped, whatever it is.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote

from farmlet.parts import gate
from farmlet.parts.sitetests.pages import view
from farmlet.parts.sitetests.result import PART
from farmlet.parts.sitetests.store import Store
from farmlet.parts.sitetests.suite import QUEUE
from farmlet.web.guard import PERSON, Environ, Guard, Start, answer
from farmlet.web.login import Login, Person

WAIT = b"The page is not there yet: its node waits for the secret of its client at the issuer.\n"
CSS = Path(__file__).with_name("page.css")
RANGES = {6 * 3600: "6 hours", 86400: "1 day", 7 * 86400: "7 days", 30 * 86400: "30 days"}
BUCKETS = 24  # of a range
SITES = 40  # of a page
LAST = 20  # results that are listed beside one
PARTS = 400  # tests of reports
LINES = 50  # of a gate's history
FORM = 1000  # bytes


class Missing(Exception):
    """There is nothing of that name; the text says of which."""


class Pages:
    """`admins`: groups, as tokens name them, whose members see what tests printed; `sites`: names."""

    def __init__(
        self,
        state: Path,
        gates: Path,
        sites: Sequence[str],
        title: str,
        admins: Collection[str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._state, self._gates, self._sites, self._title = state, gates, list(sites), title
        self._admins, self._clock = list(admins), clock

    def __call__(self, environ: Environ, start: Start) -> Iterable[bytes]:
        path, query = environ.get("PATH_INFO", "/"), dict(parse_qsl(environ.get("QUERY_STRING", "")))
        if path == "/page.css":
            return answer(
                start, 200, CSS.read_bytes(), {"Content-Type": "text/css; charset=utf-8", "Cache-Control": "max-age=3600"}
            )
        person: Person = environ[PERSON]
        if path == "/run":
            return self.order(environ, start)
        show = {"/": self.overview, "/site": self.site, "/test": self.test}.get(path)
        status = 200
        try:
            with closing(Store(self._state / "results.sqlite3", readonly=True)) as store:
                if path == "/result":
                    name, body = self.result(store, query, self._is_admin(person))
                elif show is not None:
                    name, body = show(store, query)
                else:
                    raise Missing("page")
        except Missing as missing:
            status, name, body = 404, "Not found", f"<p>There is no such {missing}.</p>"
        except (sqlite3.Error, OSError):
            status, name, body = 503, "Please try again", "<p>The service of the site tests does not run just now.</p>"
        text = view.page(self._title, name, body, person.name)
        return answer(start, status, text.encode(), {"Content-Type": "text/html; charset=utf-8"})

    def order(self, environ: Environ, start: Start) -> Iterable[bytes]:
        """Have a test run now. That a page of ours sent this the entrance has seen."""
        size = min(int(environ.get("CONTENT_LENGTH") or 0), FORM)
        form = dict(parse_qsl(environ["wsgi.input"].read(size).decode(errors="replace"))) if size else {}
        site, test = form.get("site", ""), form.get("test", "")
        plain = {"Content-Type": "text/plain; charset=utf-8"}
        if environ.get("REQUEST_METHOD") != "POST" or site not in self._sites or test not in self._tests()[1:]:
            return answer(start, 404, b"There is no such test.\n", plain)
        if not self._is_admin(environ[PERSON]):
            return answer(start, 403, b"This is for who administers the facility.\n", plain)
        try:
            (self._state / "asked" / f"{site}.{test}").touch()
        except OSError:
            return answer(start, 503, b"It cannot be asked for just now.\n", plain)
        return answer(start, 303, b"", {"Location": f"/result?site={quote(site)}&test={quote(test)}&asked=1"})

    def _is_admin(self, person: Person) -> bool:
        return any(group == one or group.startswith(f"{one}/") for group in person.groups for one in self._admins)

    def _told(self) -> Mapping[str, Any]:
        try:
            found: Mapping[str, Any] = json.loads((self._state / "told.json").read_text())
        except (OSError, ValueError):
            found = {"tests": [], "faults": [], "frozen": []}
        return found

    def _tests(self) -> list[str]:
        return [QUEUE, *sorted(str(one["test"]) for one in self._told()["tests"])]

    def _range(self, query: Mapping[str, str]) -> int:
        chosen = query.get("range", "")
        return int(chosen) if chosen in map(str, RANGES) else 86400

    def overview(self, store: Store, query: Mapping[str, str]) -> tuple[str, str]:
        now, told, wanted = self._clock(), self._told(), query.get("find", "")[:60]
        found = {site: gate.load(self._gates, site) for site in self._sites if wanted in site}
        order = sorted(found, key=lambda site: (_rank(found[site]), site))  # what needs somebody comes first
        number = min(int(_number(query, "page") or 0), len(order) // SITES)
        chosen = order[number * SITES : (number + 1) * SITES]
        strips = store.find_worst(now - 86400, 86400 / BUCKETS, chosen)
        more = (number + 1) * SITES < len(order)
        rows = [(site, found[site], gate.is_open(self._gates, site), strips) for site in chosen]
        return "Site tests", view.overview(now, told, self._tests(), rows, BUCKETS, (wanted, number, more, len(order)))

    def site(self, store: Store, query: Mapping[str, str]) -> tuple[str, str]:
        name, span, now = query.get("name", ""), self._range(query), self._clock()
        if name not in self._sites:
            raise Missing("site")
        strips = store.find_worst(now - span, span / BUCKETS, [name])
        tests = self._tests()
        parts = sorted(test for _, test in strips if PART in test and test.partition(PART)[0] in tests)[:PARTS]
        rows = [(test, strips.get((name, test), {}), (name, test)) for test in [*tests, *parts]]
        times = view.times(f"/site?name={quote(name)}", rows, (now, span, BUCKETS), RANGES, "test")
        shown = gate.load(self._gates, name)
        changes = store.find_changes(now - 30 * 86400, name)[:LINES]
        slow = [one for one in self._told().get("slow", ()) if one["site"] == name]
        cost = view.cost(*store.find_cost(now - 86400, name).get(name, (0, 0.0)), slow)
        return f"Site {name}", view.state(shown, now) + cost + times + view.history(changes, store.find_closures(now, name), now)

    def test(self, store: Store, query: Mapping[str, str]) -> tuple[str, str]:
        name, span, now = query.get("name", ""), self._range(query), self._clock()
        if name.partition(PART)[0] not in self._tests():
            raise Missing("test")
        sites = self._sites[:1000]
        strips = store.find_worst(now - span, span / BUCKETS, sites, name)
        rows = [(site, strips.get((site, name), {}), (site, name)) for site in sites]
        return f"Test {name}", view.times(f"/test?name={quote(name)}", rows, (now, span, BUCKETS), RANGES, "site")

    def result(self, store: Store, query: Mapping[str, str], admin: bool) -> tuple[str, str]:
        site, test = query.get("site", ""), query.get("test", "")
        begin, end = _number(query, "from"), _number(query, "to")
        if "at" in query:
            begin = end = _number(query, "at")
        if site not in self._sites or (found := store.find_run(site, test, begin, end)) is None:
            raise Missing("result")
        others = store.find_runs(site, test, LAST)
        may = admin and test in self._tests()[1:]
        return f"{test} at {site}", view.result(site, found, others, admin, view.order(site, test, may, "asked" in query))


def _number(query: Mapping[str, str], name: str) -> float | None:
    text = query.get(name, "")
    return float(text) if len(text) < 20 and text.replace(".", "", 1).isdecimal() else None


def _rank(found: gate.Gate | None) -> int:
    if found is None:
        return 3
    if not found.ok:
        return 0
    return 1 if any(row[0] == 2 for row in found.tests.values()) else 2


class App:
    """The pages behind the log-in, once there can be one."""

    def __init__(self, pages: Guard | None) -> None:
        self._pages = pages

    def __call__(self, environ: Environ, start: Start) -> Iterable[bytes]:
        if self._pages is None:
            return answer(start, 503, WAIT, {"Content-Type": "text/plain; charset=utf-8"})
        return self._pages(environ, start)


def load(path: str) -> App:
    """The service from its JSON file: {"state", "gates", "sites", "title", "admins", "login": {…}}."""
    config: dict[str, Any] = json.loads(Path(path).read_text())
    pages = Pages(Path(config["state"]), Path(config["gates"]), config["sites"], config["title"], config["admins"])
    login = find_login(**config["login"])
    return App(Guard(pages, login, config["title"]) if login else None)


def find_login(issuer: str, client: str, origin: str, secret: str, key: str) -> Login | None:
    """The log-in, once the issuer's secret for `client` has come; `secret` and `key` are files."""
    if not Path(secret).is_file():
        return None
    return Login(issuer, client, Path(secret).read_text().strip(), origin, Path(key).read_bytes())
