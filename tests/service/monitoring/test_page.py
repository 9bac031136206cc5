"""The page in Chromium, over the real store with an hour of numbers."""

from __future__ import annotations

import json
import math
import os
import time
import urllib.request
from collections.abc import Iterable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIServer, make_server

import pytest
from chromium import Window, launch
from pieces import Pieces, Quiet

from farmlet.parts.monitoring import rules
from farmlet.parts.monitoring.pages.board import Board, Content
from farmlet.parts.monitoring.pages.store import Away
from farmlet.parts.monitoring.store import load_panels, load_yaml
from farmlet.web import theme
from farmlet.web.guard import PERSON, answer
from farmlet.web.login import Person
from waiting import serve, until

pytestmark = [pytest.mark.service, pytest.mark.browser, pytest.mark.timeout(300)]
NODES = ("head", "service")
SECONDS = 3600


def write_samples(now: int) -> Iterable[str]:
    """What two nodes say, each 15 s."""
    for at in range(now - SECONDS, now, 15):
        wave = math.sin(at / 600)
        for number, node in enumerate(NODES):
            rows = {
                f'up{{job="node",node="{node}"}}': 1.0,
                f'farmlet_check_ok{{check="batch.queue",node="{node}"}}': float(number or at < now - 900),
                f'farmlet_checks_failing{{node="{node}"}}': float(not number and at >= now - 900),
                f'node_cpu_seconds_total{{cpu="0",mode="idle",node="{node}"}}': at * 0.7 + 60 * wave,
                f'node_cpu_seconds_total{{cpu="0",mode="user",node="{node}"}}': at * 0.3 - 60 * wave,
                f'node_memory_MemAvailable_bytes{{node="{node}"}}': 3e9 + 1e9 * wave,
                f'node_memory_MemTotal_bytes{{node="{node}"}}': 6e9,
                f'node_filesystem_avail_bytes{{mountpoint="/",node="{node}"}}': 3e10 + 1e9 * wave,
                f'node_filesystem_size_bytes{{mountpoint="/",node="{node}"}}': 1e11,
                f'node_load1{{node="{node}"}}': 1 + wave,
                f'farmlet_certificate_end_timestamp_seconds{{path="/x.crt",node="{node}"}}': now + 2e6,
            }
            if at % 300 < 15:  # as vmalert keeps it for the long ranges
                rows[f'farmlet_panel:facility_memory_in_use{{node="{node}",facility="lab"}}'] = 50 - 16 * wave
            yield from (f"{name} {value} {at * 1000}\n" for name, value in rows.items())
        jobs, count = f"{5 + 4 * wave:.0f} {at * 1000}", at - now + SECONDS
        for one, site in (("idle", ""), ("running", "tier1"), ("running", "local")):
            yield f'farmlet_batch_jobs{{status="{one}",site="{site}",group="lab",node="head"}} {jobs}\n'
        for name, value in (
            ("core_seconds", count),
            ("cpu_seconds", 0.8 * count),
            ("waited_seconds", 3 * count),
            ("starts", count / 60),
        ):
            yield f'farmlet_batch_{name}_total{{site="tier1",group="lab",node="head"}} {value} {at * 1000}\n'
        yield f'farmlet_batch_ended_jobs_total{{result="ok",site="tier1",group="lab",node="head"}} {count // 60} {at * 1000}\n'
        yield f'farmlet_batch_waiting_seconds{{group="lab",node="head"}} {900 + 1200 * wave} {at * 1000}\n'
        for site in ("tier1", "hpc"):
            yield f'farmlet_overlay_drones{{site="{site}",state="available",node="service"}} {jobs}\n'
            is_open = float(site == "tier1" or at < now - 900)
            yield f'farmlet_sitetests_open{{site="{site}",node="service"}} {is_open} {at * 1000}\n'
        yield from write_tests_and_notebooks(at, now, wave)
        yield f'farmlet_storage_used_bytes{{group="lab",node="head"}} {3e9 + 1e6 * count} {at * 1000}\n'
        yield f'farmlet_storage_free_bytes{{node="head"}} {3e10 - 1e6 * count} {at * 1000}\n'
        yield f'farmlet_storage_size_bytes{{node="head"}} 5e10 {at * 1000}\n'
        yield f'farmlet_identity_active_members{{node="service"}} 42 {at * 1000}\n'
        yield f'farmlet_accounts{{state="active",node="service"}} 42 {at * 1000}\n'
    for at in range(now - 900, now + 600, 15):
        labels = 'alertname="CheckFailing",alertstate="firing",severity="warning",check="batch.queue",node="head"'
        yield f"ALERTS{{{labels}}} 1 {at * 1000}\n"


def write_tests_and_notebooks(at: int, now: int, wave: float) -> Iterable[str]:
    """Sites are tested each ten minutes."""
    for site in ("tier1", "hpc"):
        yield f'farmlet_sitetests_maintenance{{site="{site}",node="service"}} {float(site == "hpc")} {at * 1000}\n'
        for test in ("power", "storage", "room"):
            labels = f'site="{site}",test="{test}",node="service"'
            bad = (site, test) == ("hpc", "storage") and at >= now - 900
            yield f"farmlet_sitetests_result{{{labels}}} {2.0 * bad} {at * 1000}\n"
            yield f"farmlet_sitetests_result_timestamp_seconds{{{labels}}} {at - (at - now) % 600} {at * 1000}\n"
        yield f'farmlet_sitetests_score{{site="{site}",test="power",node="service"}} {11.4 + wave / 9} {at * 1000}\n'
    for state, count in (("running", round(8 + 6 * wave)), ("exited", 1), ("created", 0), ("other", 0)):
        yield f'farmlet_notebooks_servers{{state="{state}",node="head"}} {count} {at * 1000}\n'
    for check in ("notebooks.hub", "notebooks.proxy", "sitetests.service", "sitetests.site.hpc"):
        labels = f'check="{check}",node="{"head" if "note" in check else "service"}"'
        yield f"farmlet_check_ok{{{labels}}} {float(not check.endswith('hpc') or at < now - 900)} {at * 1000}\n"
        yield f"farmlet_check_seconds{{{labels}}} {0.3 + wave / 9} {at * 1000}\n"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page as a member sees it who is logged in."""
    pieces = Pieces(tmp_path_factory.mktemp("page"))
    pieces.start_store()
    pieces.start_door()
    until(lambda: is_there(pieces))
    connection = HTTPConnection("127.0.0.1", pieces.port)
    connection.request("POST", "/api/v1/import/prometheus", "".join(write_samples(int(time.time()))))
    assert connection.getresponse().status == 204
    until(lambda: pieces.store.select_now("up"))
    alarms = [alert.show() for alert in rules.load() if alert.severity != "none"]
    board = Board(
        pieces.store,
        Content("Example facility", load_panels(), alarms, NODES, ("tier1", "hpc"), ("/lab/admins",), load_yaml("reports.yaml")),
    )

    def app(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        name = environ["PATH_INFO"].strip("/")
        if name in theme.FILES:
            return answer(start, 200, theme.load(name), {"Content-Type": theme.FILES[name]})
        groups = () if "member" in environ.get("HTTP_COOKIE", "") else ("/lab/admins",)
        return board({**environ, PERSON: Person("s", "ada", groups)}, start)

    server = make_server("127.0.0.1", 0, app, WSGIServer, Quiet)
    with serve(server):
        yield f"http://127.0.0.1:{server.server_port}"
    pieces.close()


def is_there(pieces: Pieces) -> bool:
    try:
        pieces.store.select_now("1")
    except Away:
        return False
    return True


@pytest.fixture(scope="module")
def window(address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Window]:
    folder = Path(os.environ.get("FARMLET_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    with launch() as browser:
        yield Window(browser.new_context(locale="en-GB").new_page(), folder, address)


def wait_for(window: Window, title: str) -> None:
    window.page.get_by_role("heading", name=title, exact=True).wait_for()
    window.page.locator("#panels figure").first.wait_for()


def test_the_facility_at_a_glance(window: Window, address: str) -> None:
    window.open(address)
    wait_for(window, "The facility at a glance")
    told = ("warning: check failing – batch.queue, head", "Processors in use", "running", "Last update", "1 !", "%")
    window.look("monitoring", *told)
    # so it is where a panel leads to the alarm that watches it
    window.press("alarm: disk full")
    assert window.page.get_by_text("Less than 5 % of a file system is free.").is_visible()
    # and where a mail points to
    window.open(f"{address}/?#DiskFull")
    window.page.reload()
    wait_for(window, "The facility at a glance")
    assert window.page.get_by_text("Less than 5 % of a file system is free.").is_visible()
    assert not window.faults


def test_a_node_and_another_range(window: Window, address: str) -> None:
    window.open(address)
    wait_for(window, "The facility at a glance")
    window.press("head")
    wait_for(window, "Node head")
    with window.page.expect_response(lambda answer: "range=21600" in answer.url) as found:
        window.page.get_by_label("Range").select_option("6 hours")
    assert found.value.status == 200 and "page=node&of=head" in found.value.url
    window.look("monitoring-node", "Load", "File systems", "No numbers in this range.")


PAGES = {
    "Jobs": ("Jobs", "Longest wait", "min", "Processor efficiency of jobs that ended", "80.0 %", "/h"),
    "Drones": ("Drones and sites", "tier1, available", "0 !"),
    "Tests": ("Tests of sites", "hpc, storage", "2 !", "tier1, power", "11.", "sitetests.site.hpc"),
    "Notebooks": ("Notebooks", "running", "notebooks.hub", "head", " s", "GiB"),
    "Storage": ("Storage", "Storage by group", "lab", "GiB"),
    "Members": ("Members, tokens and certificates", "Accounts of members", "active", "42"),
    "Report": ("Report", "lab", "tier1", "59", "0.996 h", "80.0 %", "3 min", "42", "CSV"),
    "tier1": ("Site tier1", "Running jobs", "available"),
}


@pytest.mark.parametrize("name", PAGES)
def test_each_page(name: str, window: Window, address: str) -> None:
    title, *texts = PAGES[name]
    window.open(address)
    wait_for(window, "The facility at a glance")
    window.press(name)
    wait_for(window, title)
    window.look(f"monitoring-{name.lower()}", *texts)


def test_what_a_member_sees(window: Window, address: str) -> None:
    window.page.context.add_cookies([{"name": "member", "value": "1", "url": address}])
    window.open(f"{address}/?page=node&of=head")
    wait_for(window, "The facility at a glance")
    window.look("monitoring-member", "warning: check failing – head", "Jobs", "Storage", "tier1")
    assert not {"Members", "service", "What is watched"} & {*window.text.splitlines()} and "alarm:" not in window.text
    window.page.context.clear_cookies()


def test_the_page_says_so_when_there_is_no_update(window: Window, address: str) -> None:
    window.open(address)
    wait_for(window, "The facility at a glance")
    window.page.route("**/data?*", lambda route: route.fulfill(status=503, json={"fault": "the store is away"}))
    window.page.get_by_label("Range").select_option("1 day")
    window.page.get_by_text("No update: the store is away").wait_for()
    assert "Processors in use" in window.text  # what was there is kept
    window.page.unroute("**/data?*")
    window.faults.clear()


def test_a_long_range_ends_now(address: str) -> None:
    with urllib.request.urlopen(f"{address}/data?range={30 * 86400}") as answer:
        told = json.load(answer)
    (panel,) = [panel for panel in told["panels"] if panel["title"] == "Memory in use"]
    assert {line["name"]: line["points"][-1][0] for line in panel["series"]} == dict.fromkeys(
        NODES, pytest.approx(told["at"], abs=2)
    )
