"""The main job, as a new member."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from person import Person
from sandbox import Sandbox, until
from screen import keep, open_screen

from farmlet.demo.notebook import Hub
from farmlet.demo.stage import Member
from host import docker

JWT = "eyJ[A-Za-z0-9_-]{16,}[.]eyJ"  # header and claims of a token, base64 of `{"`
pytestmark = [pytest.mark.facility, pytest.mark.lane("demo"), pytest.mark.usefixtures("running"), pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def report(sandbox: Sandbox, running: Sandbox) -> dict[str, Any]:
    """What the demo told."""
    return dict(sandbox.json("demo"))


@pytest.fixture(scope="module")
def member(report: dict[str, Any]) -> str:
    return str(report["result"]["member"])


def test_demo(sandbox: Sandbox, report: dict[str, Any]) -> None:
    assert report["ok"], report
    assert len(report["steps"]) == 9
    assert all(step["ok"] and step["evidence"] for step in report["steps"])
    assert 90.0 < report["result"]["mass"] < 91.5
    assert report["result"]["notebook"]["mass"] == report["result"]["mass"]
    places, images, versions = zip(*report["result"]["software"], strict=True)
    assert {*places} == {"jobs at tier1", "a job on a slot of our own", "shell", "notebook"}
    assert {*images} == {*report["result"]["images"]} and len({*images}) == len({*versions}) == 1
    assert re.fullmatch(r"python 3\.[0-9.]+(, [a-z]+ [0-9][0-9.]+)+", versions[0])
    assert "sent from the notebook" in next(
        step["evidence"] for step in report["steps"] if step["name"] == "jobs run at the site"
    )
    plot = Path(report["plot"]).read_bytes()
    assert plot.startswith(b"\x89PNG")
    assert len(plot) > 20_000
    member = report["result"]["member"]
    assert "tier1" in next(step["evidence"] for step in report["steps"] if "site" in step["name"] and "jobs" in step["name"])
    _assert_no_token_lies_around(sandbox, member)


def _assert_no_token_lies_around(sandbox: Sandbox, member: str) -> None:
    """JWTs begin with the same letters; none is in the member's files on head."""
    home = sandbox.exec("head", f"grep -rlE '{JWT}' /home/{member} || true")
    assert home == ""
    submitted = sandbox.exec("head", f"cat /home/{member}/farmlet-demo/*.sub")
    assert "use_oauth_services" in submitted
    assert not re.search(JWT, submitted)


def test_it_ends_with_pages_that_show_what_it_did(sandbox: Sandbox, report: dict[str, Any], member: str) -> None:
    """Its member opens them, with the password that the demo left."""
    links, person = report["links"], Person(sandbox, member, sandbox.folder / "people" / member)
    password = (sandbox.folder / "farmlet-demo" / "password").read_text().strip()
    for title, shown in (("its jobs", "Jobs that ended"), ("its drones", "Drones by site")):
        page = person.browser.sign_in(person.browser.open(links[title]), member, password)
        assert page.url == links[title] and member in page.text
        until(lambda page=page, shown=shown: find_lines(person, page.url, shown), 60)  # type: ignore[misc]
    page = person.browser.sign_in(person.browser.open(links["tests of its site"]), member, password)
    assert page.url.rstrip("/") == links["tests of its site"] and "tier1" in page.text


def find_lines(person: Person, page: str, title: str) -> list[Any]:
    """What a panel draws there."""
    panels = person.browser.call("GET", page.replace("/?", "/data?"), {})["panels"]
    return [line for panel in panels if panel["title"] == title for line in panel["series"] if line["points"]]


def test_the_site_carries_none_of_the_software(sandbox: Sandbox) -> None:
    probe = "python3 -c 'import uproot' 2>&1 || true"
    assert "ModuleNotFoundError" in docker("exec", sandbox.container("tier1"), "sh", "-c", probe)


def test_members_cannot_administer_the_pool(sandbox: Sandbox, member: str) -> None:
    said = sandbox.exec("head", f"runuser -u {member} -- condor_off -all 2>&1 || true")
    # by the daemons of the node itself, who know who asks; a pool that cannot be reached says something else
    assert f'Received "DENIED" from server for user {member}@{sandbox.domain}' in said and "Sent " not in said
    sandbox.run("check", "batch")


def test_explain_names_the_lines_of_the_file(sandbox: Sandbox, member: str) -> None:
    text = sandbox.run("explain", member).stdout
    lines = (sandbox.folder / "facility.yaml").read_text().splitlines()
    number = next(index for index, line in enumerate(lines, 1) if line.strip() == "lab:")
    assert f"group lab (line {number} of the facility file)" in text
    assert f"storage.modify:/users/{member}" in text


def test_break_glass_token_is_audited(sandbox: Sandbox, member: str) -> None:
    words = ("--as", member, "--scope", "storage.read:/", "--audience", "https://wlcg.cern.ch/jwt/v1/any", "--reason", "a test")
    token = sandbox.run("token", *words).stdout.strip()
    assert token.count(".") == 2
    assert "a test" in sandbox.exec("service", "cat /var/lib/farmlet/identity/audit.log")


def test_the_site_is_tested_when_that_is_asked_for(sandbox: Sandbox) -> None:
    """All of them: some come but a few times a day, and `test_6_purge` looks at every panel."""
    said = sandbox.run("sitetest", "run", code=None).stdout
    assert "storage" in said and "power" in said, said


@pytest.mark.soak
def test_the_notebook_shows_its_plot_to_who_clicks_on_start(sandbox: Sandbox, report: dict[str, Any], member: str) -> None:
    person = Person(sandbox, member, sandbox.folder / "people" / member)
    password = (sandbox.folder / "farmlet-demo" / "password").read_text().strip()
    hub = Hub(f"https://notebooks.{sandbox.domain}", person.browser, Member(member, password))
    hub.log_in()
    bare = "jq '(.cells[] | select(.outputs) | .outputs) = []' z-peak.ipynb > again.ipynb"
    sandbox.exec("head", f"cd /home/{member}/farmlet-demo && {bare} && chown {member}: again.ipynb")
    with open_screen(person) as context:
        page = context.new_page()
        page.goto(f"{hub.url}/hub/spawn?next={quote(f'/user/{member}/lab/tree/farmlet-demo/again.ipynb')}")
        page.get_by_label("Memory in GiB").fill("1")
        keep(page, "start")
        page.get_by_role("button", name="Start").click()
        page.wait_for_url("**/lab/**")
        page.get_by_text("(ipykernel) | Idle").wait_for()
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_text("Run All Cells", exact=True).click()
        page.locator(".jp-OutputArea-output img").wait_for()
        keep(page, "lab-plot")
    hub.stop()
