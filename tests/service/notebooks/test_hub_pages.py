"""The Hub's pages in Chromium, and what they say to who cannot have a server."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from chromium import Window, launch
from hubs import BASE, GIB, Hub, start, until
from jupyterhub import __version__ as HUB
from playwright.sync_api import Browser, BrowserContext

pytestmark = [pytest.mark.service, pytest.mark.browser, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with start(tmp_path_factory.mktemp("hub"), LOG_IN="typed") as found:
        found.publish()
        yield found


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with launch() as browser:
        yield browser


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(os.environ.get("FARMLET_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))


@pytest.fixture
def window(chromium: Browser, hub: Hub, pictures: Path) -> Iterator[Window]:
    context = chromium.new_context()
    yield Window(context.new_page(), pictures, hub.url)
    context.close()


def enter(window: Window, hub: Hub, name: str) -> None:
    window.open(f"{hub.url}/hub/login?next=%2Fhub%2Fspawn")
    window.fill(username=name, password="-")
    window.page.locator("#login_submit").click()
    window.page.wait_for_selector("#spawn_form")


def choose(window: Window, **values: str) -> str:
    """Start with these sizes; the words of the refusal."""
    window.page.locator("#spawn_form").evaluate("form => form.noValidate = true")  # limits are not the browser's to keep
    window.fill(**values)
    window.press("Start")
    return str(window.page.locator(".told").inner_text())


def test_what_the_member_may_choose_and_what_is_free(window: Window, hub: Hub) -> None:
    hub.write_roster(nora={"cores": 4, "memory": 8 * GIB})
    (hub.folder / "usage").write_text("olaf home other\nnora home 4.9G of 5G used, 98 %: almost full\nnora scratch 1G free\n")
    enter(window, hub, "nora")
    window.look(
        "hub-spawn", "Example facility", "Cores (up to 4)", "Memory in GiB (0.5 to 8)", "almost full", "1G free", "GiB of memory"
    )
    (software, free) = window.page.locator(".facts dd").all_inner_texts()[:2]
    assert software == f"image: Python for physics, tested {datetime.now(UTC):%Y-%m-%d}, the same as in jobs"
    assert 0 <= float(free.partition(" cores, ")[0]) <= (os.cpu_count() or 1)
    assert "other" not in window.text
    assert "no credential for storage" in window.text


def test_own_images_are_offered_to_whom_they_belong(window: Window, hub: Hub) -> None:
    hub.write_roster(hulda={}, herta={})
    row = {"owner": "hulda", "name": "fit", "base": BASE, "made": 1.8e9, "hub": HUB}
    rows = [row, row | {"owner": "olga"}, row | {"name": "old", "base": "image-bbbbbbbbbbbb"}]
    (hub.folder / "told").mkdir()
    (hub.folder / "told" / "hulda.json").write_text(json.dumps(rows))
    enter(window, hub, "hulda")
    window.look(
        "hub-own", "fit: your own, with image", "fit: of olga", "made and tested 2027-01-15", "hulda/old is not to be had"
    )

    def ask(label: str) -> str:
        """The refusal of whatever is asked for."""
        give = "(select, label) => { select.options[0].value = label; select.value = label }"
        window.page.locator("#software").evaluate(give, label)
        return choose(window, cores="1")

    assert "cannot run here" in ask("hulda/old")
    for label in ("herta/fit", "hulda/../fit", "/etc", "olga/other"):
        assert "There is no such software. You may have: image" in ask(label)
    assert "Docker on this node does not answer" in ask("olga/fit")
    window.open(f"{hub.url}/hub/spawn")
    assert window.page.locator("#software").input_value() == "olga/fit", "it was the last choice"
    (hub.folder / "told" / "hulda.json").write_text("what")
    window.open(f"{hub.url}/hub/spawn")
    assert "Images of your own cannot be looked for just now" in window.text
    (hub.folder / "told" / "hulda.json").unlink()
    window.open(f"{hub.url}/hub/spawn")
    assert "olga" not in window.text and window.page.locator("#software").count() == 0


def test_a_refusal_says_why(window: Window, hub: Hub) -> None:
    hub.write_roster(petra={"cores": 2, "memory": GIB << 20})
    enter(window, hub, "petra")
    assert "99 cores: you may have 1 to 2" in choose(window, cores="99", memory="1")
    window.look("hub-refused", "99 cores")
    assert "this node has" in choose(window, cores="1", memory="1000000")
    assert "Docker on this node does not answer" in choose(window, cores="2", memory="1.5")
    # the last choice is remembered, where it may still be made
    window.open(f"{hub.url}/hub/spawn")
    assert [window.page.locator(f"#{name}").input_value() for name in ("cores", "memory")] == ["2", "1.5"]
    hub.write_roster(petra={"cores": 1, "memory": GIB})
    window.open(f"{hub.url}/hub/spawn")
    assert [window.page.locator(f"#{name}").input_value() for name in ("cores", "memory")] == ["1", "1"]
    (hub.folder / "closed").touch()
    assert "being emptied" in choose(window, cores="1", memory="1")
    (hub.folder / "closed").unlink()
    hub.publish(False)
    assert "is not published" in choose(window, cores="1", memory="1")
    hub.publish()
    window.open(f"{hub.url}/hub/home")
    window.look("hub-home", "petra")
    window.open(f"{hub.url}/user/petra/lab")
    window.look("hub-not-running", "Your server did not start", "is not published")


def test_the_limits_hold_where_the_page_is_not_used(window: Window, hub: Hub) -> None:
    hub.write_roster(quinn={})
    enter(window, hub, "quinn")
    ask = """async wish => {
      const answer = await fetch(`/hub/api/users/quinn/server?_xsrf=${window.jhdata.xsrf_token}`, {
        method: 'POST', body: JSON.stringify(wish), headers: {'Content-Type': 'application/json'}})
      return [answer.status, (await answer.json()).message]}"""
    for wish in ({"cores": 2}, {"memory": 1.5}, {"cores": [1, 1]}, {"memory": "inf"}, {"cores": {"a": 1}}):
        status, words = window.page.evaluate(ask, wish)
        assert status == 400 and ("you may have" in words or "no number" in words), (wish, words)
    for more in ("image=evil", "cores=1&opt-image=evil"):
        window.open(f"{hub.url}/hub/spawn?{more}")
        assert "evil" not in window.text


def test_a_browser_is_known_to_the_proxy_by_its_own_members_name(window: Window, hub: Hub) -> None:
    hub.write_roster(thora={}, thor={})
    enter(window, hub, "thora")
    answer = window.page.context.request.get(f"{hub.url}/hub/claim/user/thora/lab?a=1&b=%2F", max_redirects=0)
    assert (answer.status, answer.headers["location"]) == (302, "/user/thora/lab?a=1&b=%2F")
    assert "__Host-farmlet-member=thora; HttpOnly; Path=/; SameSite=Lax; Secure" in answer.headers["set-cookie"]
    for path in ("/user/thor/lab", "/user/%74hora/lab", "//user/thora/lab", "//thor.test/user/thora", "/hub/home", "/"):
        assert window.open(f"{hub.url}/hub/claim{path}") == 403, path
    window.look("hub-others", "somebody else's server", "a folder of your group")


def read(context: BrowserContext, url: str, guard: str) -> Any:
    return context.request.get(f"{url}?_xsrf={guard}").json()


def test_a_server_that_ends_while_it_starts_says_what_it_said(tmp_path: Path, pictures: Path, chromium: Browser) -> None:
    with start(tmp_path, LOG_IN="typed", SERVER=str(Path(__file__).with_name("server.py"))) as hub:
        hub.publish()
        hub.write_roster(brigitte={}, konrad={}, gudrun={})
        for name, words in (("brigitte", "SyntaxError: <b>your</b> configuration"), ("konrad", "more memory than you chose")):
            context = chromium.new_context()
            window = Window(context.new_page(), pictures, hub.url)
            enter(window, hub, name)
            window.press("Start")
            window.page.locator(".told, #progress-message").filter(has_text=words).wait_for()
            window.open(f"{hub.url}/user/{name}/lab")
            window.look(f"hub-ended-{name}", words)
            context.close()
        context = chromium.new_context()
        window = Window(context.new_page(), pictures, hub.url)
        enter(window, hub, "gudrun")
        (hub.folder / "no-image").touch()  # the software is being made
        window.press("Start")
        window.page.locator("#progress-message").filter(has_text="Looking for the software").wait_for()
        window.look("hub-pending", "Your server is starting")
        guard = window.page.evaluate("window.jhdata.xsrf_token")
        place = f"{hub.url}/hub/api/users/gudrun"
        context.route("**/user/**", lambda route: route.abort())  # there is no proxy that leads on to the server
        (hub.folder / "no-image").unlink()
        until(lambda: read(context, place, guard)["servers"].get("", {}).get("ready"))
        assert read(context, place, guard)["servers"][""]["user_options"] == {"cores": 1, "memory": 1, "software": "image"}
        assert context.request.delete(f"{place}/server?_xsrf={guard}").ok
        until(lambda: not read(context, place, guard)["servers"])
        context.close()


def test_while_identity_is_away_the_hub_says_so(tmp_path: Path, pictures: Path, chromium: Browser) -> None:
    with start(tmp_path) as hub:
        context = chromium.new_context()
        window = Window(context.new_page(), pictures, hub.url)
        assert window.open(f"{hub.url}/hub/") == 503
        window.look("hub-away", "log-in does not answer just now")
        context.close()


def test_while_identity_is_away_servers_start_for_a_day(tmp_path: Path, pictures: Path, chromium: Browser) -> None:
    """There is no issuer here; the members came by, and the node was told when they were read last."""
    with start(tmp_path, LOG_IN="typed", SERVER=str(Path(__file__).with_name("server.py"))) as hub:
        hub.publish()
        hub.write_roster(notburga={}, ermgard={})
        (hub.folder / "heard").write_text(str(time.time() - 23 * 3600))
        context = chromium.new_context()
        window = Window(context.new_page(), pictures, hub.url)
        enter(window, hub, "notburga")
        guard = window.page.evaluate("window.jhdata.xsrf_token")
        place = f"{hub.url}/hub/api/users/notburga"
        assert context.request.post(f"{place}/server?_xsrf={guard}", data={}).ok
        until(lambda: read(context, place, guard)["servers"].get("", {}).get("ready"))
        (hub.folder / "heard").write_text(str(time.time() - 25 * 3600))
        other = chromium.new_context()
        theirs = Window(other.new_page(), pictures, hub.url)
        enter(theirs, hub, "ermgard")
        theirs.press("Start")
        theirs.look("hub-silent", "For 25 hours this node has not been told who is a member")
        assert read(context, place, guard)["servers"][""]["ready"], "what runs goes on"
        (hub.folder / "heard").write_text(str(time.time()))
        assert other.request.post(f"{hub.url}/hub/api/users/ermgard/server?_xsrf={guard_of(theirs)}", data={}).ok
        for one in (context, other):
            one.close()


def guard_of(window: Window) -> str:
    return str(window.page.evaluate("window.jhdata.xsrf_token"))


def test_a_second_server_has_a_name_and_a_third_is_refused(tmp_path: Path, pictures: Path, chromium: Browser) -> None:
    with start(tmp_path, LOG_IN="typed", SERVER=str(Path(__file__).with_name("server.py"))) as hub:
        hub.publish()
        hub.write_roster(hedda={"servers": 2})
        context = chromium.new_context()
        window = Window(context.new_page(), pictures, hub.url)
        enter(window, hub, "hedda")
        guard = window.page.evaluate("window.jhdata.xsrf_token")
        context.route("**/user/**", lambda route: route.abort())
        place, token = f"{hub.url}/hub/api/users/hedda", hub.folder / "tokens" / "hedda"

        def begin(path: str) -> str:
            """What is said against it; nothing once it runs."""
            answer = context.request.post(f"{place}/{path}?_xsrf={guard}", data={})
            name = path.partition("/")[2]
            if answer.ok:
                until(lambda: read(context, place, guard)["servers"].get(name, {}).get("ready"))
            return "" if answer.ok else str(answer.json()["message"])

        def end(path: str) -> None:
            assert context.request.delete(f"{place}/{path}?_xsrf={guard}").ok
            name = path.partition("/")[2]
            until(lambda: not read(context, place, guard)["servers"].get(name, {}).get("ready"))

        assert [begin("server"), begin("servers/second")] == ["", ""]
        window.open(f"{hub.url}/hub/home")
        window.look("hub-named", "second")
        assert "maximum of 1 named" in begin("servers/third")
        # servers have one origin, so nobody lets anybody into theirs: neither by a share nor by a code
        for what in ("shares", "share-codes"):
            wish = {"user": "hedda"} if what == "shares" else {}
            answer = context.request.post(f"{hub.url}/hub/api/{what}/hedda/second?_xsrf={guard}", data=wish)
            assert answer.status in (403, 404), (what, answer.status, answer.text())
        hub.write_roster(hedda={})  # as usual, which is two
        end("server")
        assert token.is_dir(), "the second server has it"
        hub.write_roster(hedda={"servers": 1})
        assert "You may have 1 server at a time" in begin("server")
        end("servers/second")
        assert not token.exists() and begin("server") == ""
        context.close()


def test_who_administers_sees_the_servers_of_all_and_stops_them(tmp_path: Path, pictures: Path, chromium: Browser) -> None:
    with start(tmp_path, LOG_IN="typed", SERVER=str(Path(__file__).with_name("server.py"))) as hub:
        hub.publish()
        hub.write_roster(adelheid={"administer": True}, ottilie={})
        context, theirs, stranger = (chromium.new_context() for _ in range(3))
        window, other = Window(context.new_page(), pictures, hub.url), Window(theirs.new_page(), pictures, hub.url)
        enter(other, hub, "ottilie")
        guard = other.page.evaluate("window.jhdata.xsrf_token")
        theirs.request.post(f"{hub.url}/hub/api/users/ottilie/server?_xsrf={guard}", data={})
        until(lambda: read(theirs, f"{hub.url}/hub/api/users/ottilie", guard)["servers"].get("", {}).get("ready"))
        assert other.open(f"{hub.url}/hub/admin") == 403
        enter(window, hub, "adelheid")
        until(lambda: window.open(f"{hub.url}/hub/admin") == 200)
        own = window.page.evaluate("window.jhdata.xsrf_token")
        api = f"{hub.url}/hub/api/users"
        # neither the servers themselves nor what opens them: tokens, shares, the members' names and rights
        refused = {
            "tokens": context.request.post(f"{api}/ottilie/tokens?_xsrf={own}", data={}),
            "start": context.request.post(f"{api}/ottilie/servers/more?_xsrf={own}", data={}),
            "rename": context.request.patch(f"{api}/ottilie?_xsrf={own}", data={"admin": True}),
            "add": context.request.post(f"{api}/waltraud?_xsrf={own}", data={}),
            "share": context.request.post(f"{hub.url}/hub/api/share-codes/ottilie/?_xsrf={own}", data={}),
            "shut down": context.request.post(f"{hub.url}/hub/api/shutdown?_xsrf={own}", data={}),
        }
        assert {name for name, answer in refused.items() if answer.status not in (403, 404)} == set()
        assert "access:servers!user=ottilie" not in str(context.request.get(f"{hub.url}/hub/api/user?_xsrf={own}").json())
        window.page.get_by_role("button", name="Stop ottilie's server").wait_for()
        window.look("hub-administer", "Servers of all", "ottilie", "the usual one")
        window.press("Stop ottilie's server")
        until(lambda: not read(theirs, f"{hub.url}/hub/api/users/ottilie", guard)["servers"])
        token = context.request.post(f"{api}/adelheid/tokens?_xsrf={own}", data={}).json()["token"]

        def ask() -> int:
            """By a token, of somebody else."""
            return stranger.request.get(f"{api}/ottilie", headers={"Authorization": f"token {token}"}).status

        assert ask() == 200
        hub.write_roster(adelheid={}, ottilie={})
        until(lambda: ask() == 404)
        assert window.open(f"{hub.url}/hub/admin") == 403
        hub.write_roster(adelheid={"administer": True}, ottilie={})
        until(lambda: ask() == 200)
        hub.write_roster(ottilie={})
        until(lambda: ask() in (403, 404))
