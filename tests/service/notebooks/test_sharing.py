"""Each member at an origin of their own, and colleagues whom they let into a server: a real Hub, its log-in of servers, Chromium."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import Window, launch
from hubs import Hub, start, until
from origins import Front, open_front
from playwright.sync_api import Browser, BrowserContext

pytestmark = [pytest.mark.service, pytest.mark.browser, pytest.mark.timeout(300)]
CALL = """async ([url, method, body]) => {
  const guard = {'X-XSRFToken': window.jhdata.xsrf_token, 'Content-Type': 'application/json'}
  const answer = await fetch(url, {method, headers: guard, body: body && JSON.stringify(body)})
  return [answer.status, await answer.text()]}"""
SERVER = str(Path(__file__).with_name("visited.py"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hub")


@pytest.fixture(scope="module")
def front(folder: Path) -> Iterator[Front]:
    with open_front(folder) as found:
        yield found


@pytest.fixture(scope="module")
def hub(front: Front, folder: Path) -> Iterator[Hub]:
    with start(folder, origin=front.url, LOG_IN="typed", SHARING="yes", SERVER=SERVER) as found:
        front.hub = found.port
        found.publish()
        yield found


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with launch() as browser:
        yield browser


class Person:
    """A member at a browser of their own, logged in at the Hub."""

    def __init__(self, browser: Browser, front: Front, name: str, folder: Path) -> None:
        self.name, self.front = name, front
        self.context: BrowserContext = browser.new_context(ignore_https_errors=True)
        self.window = Window(self.context.new_page(), folder, front.url)
        self.page = self.window.page
        self.server = f"{front.of(name)}/user/{name}/"
        self.window.open(f"{front.url}/hub/login?next=%2Fhub%2Fhome")
        self.window.fill(username=name, password="-")
        self.page.locator("#login_submit").click()
        self.page.get_by_role("heading", name="Your server").wait_for()
        self.home = self.context.new_page()  # from which the Hub's API is asked, as its own pages do
        self.home.goto(f"{front.url}/hub/home")

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and answer of the Hub's API."""
        status, text = self.home.evaluate(CALL, [f"/hub/api/{path}", method, body])
        return status, json.loads(text or "null")

    def begin(self) -> None:
        assert self.call("POST", f"users/{self.name}/server", {})[0] < 300
        until(lambda: self.call("GET", f"users/{self.name}")[1]["servers"].get("", {}).get("ready"))

    def visit(self, server: str) -> str:
        """What its page says; the first time the Hub asks."""
        self.page.goto(server)
        if self.page.get_by_role("button", name="Go on").count():
            self.window.press("Go on")
        return self.window.text


@pytest.fixture
def come(chromium: Browser, front: Front, hub: Hub, tmp_path: Path) -> Iterator[Any]:
    """Log a member in; all who come in one test may have a notebook."""
    people: list[Person] = []

    def one(name: str) -> Person:
        names = dict.fromkeys([*(each.name for each in people), name])
        hub.write_roster(**{each: {} for each in names})
        folder = Path(os.environ.get("FARMLET_SCREENSHOTS") or tmp_path)
        people.append(Person(chromium, front, name, folder))
        return people[-1]

    yield one
    for each in people:
        each.call("DELETE", f"users/{each.name}/server")
        each.context.close()


def test_a_shared_server_opens_for_the_colleague_and_for_nobody_else(come: Any) -> None:
    signe, torleif, ingvar = come("signe"), come("torleif"), come("ingvar")
    signe.begin()
    assert signe.visit(signe.server) == "signe at signe" and signe.page.url == signe.server
    assert "You do not have permission" in torleif.visit(signe.server)
    status, made = signe.call("POST", "share-codes/signe/", {})
    assert status == 200
    torleif.page.goto(made["full_accept_url"])
    torleif.window.press("Enter")
    assert torleif.visit(signe.server) == "torleif at signe"
    assert "at signe" not in ingvar.visit(signe.server)


def test_a_member_lets_a_colleague_in_on_their_page_and_takes_it_back(come: Any) -> None:
    asta, ragna, vidar = come("asta"), come("ragna"), come("vidar")
    asta.begin()
    window = asta.window
    window.open(f"{asta.front.url}/hub/home")
    window.look("share-home", "works there as you", "user name")
    for name, words in (("nobody-here", "no colleague"), ("asta", "no colleague"), ("", "no colleague")):
        window.fill(member=name)
        window.press("Let in")
        assert words in window.text
        window.open(f"{asta.front.url}/hub/home")
    window.fill(member="ragna")
    window.press("Let in")
    window.look("share-given", "ragna may enter")
    ragna.window.open(f"{asta.front.url}/hub/home")
    ragna.window.look("share-taken", "Of colleagues", "you work as the colleague")
    ragna.page.goto(asta.server)
    ragna.window.look("share-ask", "somebody else's", "your user name")
    ragna.window.press("Go on")
    assert ragna.window.text == "ragna at asta"
    # by a link
    window.press("Make a link instead")
    window.look("share-link", "as you", "shown only now")
    link = window.page.locator("#link").input_value()
    window.open(f"{asta.front.url}/hub/home")
    window.look("share-both", "A link until")
    vidar.page.goto(link)
    vidar.window.look("share-accept", "You would work there as asta")
    vidar.window.press("Enter")
    assert vidar.visit(asta.server) == "vidar at asta"
    # back, the link too
    window.open(f"{asta.front.url}/hub/home")
    while window.page.get_by_role("button", name="Take back").count():
        window.page.get_by_role("button", name="Take back").first.click()
        window.page.wait_for_load_state()
    for each in (ragna, vidar):
        until(lambda each=each: "at asta" not in each.visit(asta.server), 15)  # type: ignore[misc]
    assert vidar.window.open(link) == 404
