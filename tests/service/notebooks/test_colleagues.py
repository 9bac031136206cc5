"""Each member at an origin of their own, and colleagues whom they let in: a real Hub, its log-in of servers, Chromium."""

from __future__ import annotations

import json
import os
import sqlite3
import urllib.parse
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from chromium import Window, launch
from hubs import Hub, start, until
from origins import Front, open_front
from playwright.sync_api import Browser, BrowserContext

from farmlet.parts.notebooks.hub.configuration import DATABASE

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
        self.context.set_default_timeout(90_000)
        self.window = Window(self.context.new_page(), folder, front.url, front.of("asta"))
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
    # it is asta's to start
    assert asta.call("DELETE", "users/asta/server")[0] < 300
    ragna.page.goto(asta.server)
    ragna.window.look("share-stopped", "The server of asta is not running", "asta has to start it")
    assert "Log out" not in ragna.window.text and not ragna.page.locator("[href*=spawn]").count()
    asta.begin()
    # back, the link too
    window.open(f"{asta.front.url}/hub/home")
    while window.page.get_by_role("button", name="Take back").count():
        window.page.get_by_role("button", name="Take back").first.click()
        window.page.wait_for_load_state()
    for each in (ragna, vidar):
        until(lambda each=each: "at asta" not in each.visit(asta.server), 15)  # type: ignore[misc]
    assert vidar.window.open(link) == 404


SOCKET = """url => new Promise(done => {
  window.ended = false
  const socket = new WebSocket(url)
  socket.onmessage = () => done('open')
  socket.onclose = () => { window.ended = true; done('closed') }})"""
FORM = """url => {
  document.body.innerHTML = `<form method=post enctype=text/plain action="${url}"><input name='{"note": "' value='"}'></form>`
  document.forms[0].submit() }"""
ASK = """async ([path, token, method]) => {
  const answer = await fetch(`/hub/api/${path}`, {method, credentials: 'omit', headers: {Authorization: `token ${token}`}})
  return [answer.status, await answer.text()] }"""
FETCH = """async ([url, method, mode]) => {
  try {
    const answer = await fetch(url, {method, mode, credentials: 'include', body: method === 'POST' ? '{}' : undefined})
    return [answer.type, answer.status, (await answer.text()).length]
  } catch (error) { return 'refused' }}"""


def test_who_is_suspended_or_not_let_in_any_more_is_out_at_once_with_what_is_open(hub: Hub, come: Any) -> None:
    bodil, frode, gorm = come("bodil"), come("frode"), come("gorm")
    bodil.begin()
    for name in ("frode", "gorm"):
        bodil.window.open(f"{bodil.front.url}/hub/home")
        bodil.window.fill(member=name)
        bodil.window.press("Let in")
    socket = bodil.server.replace("https", "wss") + "socket"
    for each in (bodil, frode, gorm):
        assert "at bodil" in each.visit(bodil.server)
        assert each.page.evaluate(SOCKET, socket) == "open"
    hub.write_roster(bodil={}, gorm={})
    until(lambda: frode.page.evaluate("ended"), 10)
    assert "at bodil" not in frode.visit(bodil.server)
    bodil.window.page.goto(f"{bodil.front.url}/hub/home")
    bodil.window.page.get_by_text("gorm may enter").locator("..").get_by_role("button").click()
    until(lambda: gorm.page.evaluate("ended"), 10)
    assert "at bodil" not in gorm.visit(bodil.server)
    # the Hub is silent: who was there stays
    assert bodil.visit(bodil.server) == "bodil at bodil" and bodil.page.evaluate(SOCKET, socket) == "open"


def test_a_page_of_a_server_neither_reads_nor_acts_at_the_hub_or_at_the_visitors_server(come: Any) -> None:
    mordred, estrid = come("mordred"), come("estrid")
    mordred.begin()
    estrid.begin()
    assert estrid.visit(estrid.server) == "estrid at estrid"
    mordred.window.open(f"{mordred.front.url}/hub/home")
    mordred.window.fill(member="estrid")
    mordred.window.press("Let in")
    assert estrid.visit(mordred.server) == "estrid at mordred"
    page, hub = estrid.page, f"{estrid.front.url}/hub"
    assert "jupyterhub" not in page.evaluate("document.cookie").replace("jupyterhub-session-id", "")
    wishes = (
        (f"{hub}/api/user", "GET"),
        (f"{hub}/home", "GET"),
        (f"{hub}/api/users/estrid/tokens", "POST"),
        (f"{hub}/share", "POST"),
        (estrid.server, "GET"),
        (estrid.server, "POST"),
    )
    said = {(url, method): page.evaluate(FETCH, [url, method, "cors"]) for url, method in wishes}
    assert set(said.values()) == {"refused"}, said
    for url, method in wishes:
        page.evaluate(FETCH, [url, method, "no-cors"])
    notes = [one["note"] for one in estrid.call("GET", "users/estrid/tokens")[1]["api_tokens"]]
    assert not [note for note in notes if "equested" in note], "none made by the API"
    assert page.evaluate(SOCKET, estrid.server.replace("https", "wss") + "socket") == "closed"
    # a form that posts, for which browsers ask nobody
    for place in (f"{hub}/share", f"{hub}/api/users/estrid/tokens"):
        page.goto(mordred.server)
        with page.expect_navigation(url=f"{place}*") as came:
            page.evaluate(FORM, place)
        assert came.value.status in (400, 403), place
    # what the server is told of the visitor
    token = estrid.visit(f"{mordred.server}token")
    known = json.loads(estrid.home.evaluate(ASK, ["users/estrid", token, "GET"])[1])
    assert known["name"] == "estrid" and not {"servers", "last_activity", "created"} & known.keys()
    wanted = {
        "users/estrid/tokens": "POST",
        "users/estrid/server": "DELETE",
        "shares/estrid": "GET",
        "share-codes/estrid/": "POST",
    }
    told = {path: estrid.home.evaluate(ASK, [path, token, method])[0] for path, method in wanted.items()}
    assert set(told.values()) <= {403, 404}, told


def test_cookies_that_a_server_sets_for_all_origins_are_nobodys_session(come: Any) -> None:
    loke, idunn = come("loke"), come("idunn")
    loke.begin()
    idunn.begin()
    loke.window.open(f"{loke.front.url}/hub/home")
    loke.window.fill(member="idunn")
    loke.window.press("Let in")
    theirs = {one["name"]: one["value"] for one in loke.context.cookies(f"{loke.front.url}/hub/home")}
    assert {"__Host-jupyterhub-hub-login", "_xsrf", "jupyterhub-session-id"} <= theirs.keys()
    idunn.visit(loke.server)
    mine = {(one["name"], one["path"]): one["value"] for one in idunn.context.cookies(idunn.server)}
    tossed = [
        [name, value, f"Domain=notebooks.farmlet.test; Secure; Path={path}"]
        for name, value in [
            *theirs.items(),
            *((name, "garbage") for name in ("_xsrf", "jupyterhub-session-id", "jupyterhub-user-idunn")),
        ]
        for path in ("/", "/hub/", "/hub/home", "/user/idunn/")
    ]
    idunn.page.goto(f"{loke.server}toss?one={urllib.parse.quote(json.dumps(tossed))}")
    after = {(one["name"], one["path"]): one["value"] for one in idunn.context.cookies(idunn.server)}
    assert ("_xsrf", "/user/idunn/") in after and after != mine, "what it tried did come"
    assert idunn.window.open(f"{idunn.front.url}/hub/home") == 200 and "Log out idunn" in idunn.window.text
    assert idunn.visit(idunn.server) == "idunn at idunn"
    # forms and scripts of the Hub too
    idunn.window.open(f"{idunn.front.url}/hub/home")
    idunn.window.fill(member="loke")
    idunn.window.press("Let in")
    assert "loke may enter" in idunn.window.text
    idunn.home.goto(f"{idunn.front.url}/hub/home")
    assert idunn.call("GET", "users/idunn")[1]["servers"][""]["ready"]


def test_without_the_line_shares_are_forgotten_and_none_are_made(front: Front, tmp_path: Path, chromium: Browser) -> None:
    shares = "SELECT (SELECT count(*) FROM shares) + (SELECT count(*) FROM share_codes)"
    more = {"LOG_IN": "typed", "SERVER": SERVER}
    with start(tmp_path, origin=front.url, SHARING="yes", **more) as hub:
        front.hub = hub.port
        hub.publish()
        hub.write_roster(sigrun={}, halfdan={})
        sigrun = Person(chromium, front, "sigrun", tmp_path)
        sigrun.window.fill(member="halfdan")
        sigrun.window.press("Let in")
        assert sigrun.call("POST", "share-codes/sigrun/", {})[0] == 200
        assert sigrun.call("POST", "shares/sigrun/", {"user": "halfdan"})[0] == 403, "names are for members, so for the page only"
        assert sigrun.call("GET", "users/halfdan")[0] == 404 and sigrun.call("POST", "share-codes/halfdan/", {})[0] in (403, 404)
        sigrun.context.close()
    with closing(sqlite3.connect(tmp_path / "state" / DATABASE)) as database:
        assert database.execute(shares).fetchone() == (2,)
    with start(tmp_path, **more) as hub:
        hub.write_roster(sigrun={}, halfdan={})
        page = chromium.new_context().new_page()
        page.goto(f"{hub.url}/hub/login?next=%2Fhub%2Fhome")
        for field in ("username", "password"):
            page.locator(f"[name={field}]").fill("sigrun")
        page.locator("#login_submit").click()
        page.get_by_role("heading", name="Your server").wait_for()
        assert "colleague" not in page.locator("body").inner_text()
        assert page.evaluate(CALL, ["/hub/api/share-codes/sigrun/", "POST", {}])[0] == 403
        page.context.close()
    with closing(sqlite3.connect(tmp_path / "state" / DATABASE)) as database:
        assert database.execute(shares).fetchone() == (0,)
