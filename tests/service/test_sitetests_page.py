"""The pages of site tests in Chromium, over the real store with a day of results."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import pytest
from chromium import Window, launch

from farmlet.parts import gate
from farmlet.parts.sitetests.pages.app import Pages
from farmlet.parts.sitetests.result import Result
from farmlet.parts.sitetests.store import Closed, Job, Store
from farmlet.web import theme
from farmlet.web.guard import PERSON, answer
from farmlet.web.login import Person

pytestmark = [pytest.mark.service, pytest.mark.browser, pytest.mark.timeout(300)]

SITES = ("tier1", "hpc", "campus")
TESTS = ("clock", "image", "network", "power", "queue", "room", "storage")
OUTPUT = "https://head.farmlet.test:8443: timed out\n<script>document.title = 'mine'</script>\n"


def fill(folder: Path, now: float) -> None:
    """Two sites are well, one cannot reach storage since half an hour, one is in maintenance."""
    store = Store(folder / "results.sqlite3")
    store._base.execute("PRAGMA synchronous = OFF")
    for site in SITES:
        for step in range(144, 0, -1):
            at = now - step * 600
            store.add(job := Job(f"{site}-{step}", site, TESTS, "schedule", "wanted", at))
            found = [make(test, site, at, step) for test in TESTS]
            store.end([(job, found)], at)
        told = {one.test: [one.code, one.at, one.text] for one in found}
        by_hand = site == "campus"
        bad = [one for one in found if one.code == 2]
        reason = "closed by hand: new disks" if by_hand else "; ".join(f"{one.test}: {one.text}" for one in bad)
        gate.save(folder, site, gate.Gate(not bad and not by_hand, now - 1500, reason, by_hand, told))
        store.note_change(site, now - 1500, not bad, by_hand, reason)
    store.close_gate(Closed("campus", "new disks", now - 1500, now + 7200))
    store.close()
    rows = [{"test": name} for name in TESTS if name != "queue"]
    (folder / "told.json").write_text(json.dumps({"tests": rows, "faults": ["odd.py: is no Python"], "frozen": []}))


def make(test: str, site: str, at: float, step: int) -> Result:
    if (site, test) == ("hpc", "storage") and step <= 3:
        return Result(test, 2, "head.farmlet.test:8443 is not reached: timed out", at, 10.2, "wn17", OUTPUT)
    if test == "power":
        return Result(test, 0, "a core does 11.4 units", at, 9.8, "wn17", "", numbers={"score": (11.4 + step % 7 / 10, "")})
    return Result(test, int(step % 50 == 0), "well", at, 0.4, "wn17", "all is well\n")


class Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The pages as somebody sees them who is logged in; an admin below /admin, so to say: with that header of the test's."""
    folder = tmp_path_factory.mktemp("sitetests")
    fill(folder, time.time())
    pages = Pages(folder, folder, SITES, "Example facility", ["/lab/admins"])

    def app(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        name = environ["PATH_INFO"].strip("/")
        if name in theme.FILES:
            return answer(start, 200, theme.load(name), {"Content-Type": theme.FILES[name]})
        groups = ("/lab", "/lab/admins") if "HTTP_X_ADMIN" in environ else ("/lab",)
        return pages({**environ, PERSON: Person("s", "ada", groups)}, start)

    server = make_server("127.0.0.1", 0, app, WSGIServer, Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def window(address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Window]:
    folder = Path(os.environ.get("FARMLET_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    with launch() as browser:
        yield Window(browser.new_context(locale="en-GB").new_page(), folder, address)


def test_the_matrix_and_one_click_to_what_was_printed(window: Window, address: str) -> None:
    window.open(address)
    window.look("sitetests", "tier1", "✕ critical", "maintenance", "odd.py: is no Python")
    rows = window.page.locator("tbody th").all_inner_texts()
    assert rows == ["campus", "hpc", "tier1"], "those with trouble first"
    window.page.set_extra_http_headers({"X-Admin": "yes"})
    window.page.get_by_role("link", name="✕ critical").click()
    window.page.get_by_role("heading", name="storage at hpc").wait_for()
    window.look("sitetests-result", "timed out", "document.title = 'mine'", "wn17")
    assert window.page.title() == "storage at hpc – Example facility"
    window.page.set_extra_http_headers({})
    window.page.reload()
    assert "timed out" in window.text and "document.title" not in window.text and "wn17" not in window.text
    assert not window.faults


def test_a_site_and_a_test_over_time(window: Window, address: str) -> None:
    window.open(address)
    window.page.get_by_role("link", name="hpc", exact=True).click()
    window.page.get_by_role("heading", name="Site hpc").wait_for()
    window.look("sitetests-site", "It gets no new drones since", "is not reached", "When the gate opened and closed")
    window.page.get_by_role("link", name="storage: critical").first.click()
    window.page.get_by_role("heading", name="storage at hpc").wait_for()
    window.page.get_by_role("link", name="All sites").click()
    window.page.get_by_role("link", name="power", exact=True).click()
    window.page.get_by_role("heading", name="Test power").wait_for()
    window.page.get_by_role("link", name="7 days").click()
    window.look("sitetests-test", "Range:", "campus", "tier1")
    window.open(f"{address}/site?name=campus")
    window.look("sitetests-maintenance", "Maintenance", "new disks")
    assert not window.faults
