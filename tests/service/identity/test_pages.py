"""Every page a person comes to, walked as they would in a real browser, in each of its states.

Each page that is looked at is judged by `chromium.Window.look`; $FARMLET_SCREENSHOTS names the folder for its pictures.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from chromium import Window, launch
from issuer import PASSWORD, Service
from party import Party
from playwright.sync_api import Browser
from test_registration import Registrar

pytestmark = [pytest.mark.service, pytest.mark.once]
WIDE = "openid profile offline_access wlcg.groups storage.read:/ storage.modify:/"
LONG = "Ærøskøbing–Ünïversität·研究所 für Hochenergiephysik " * 4  # a name of 200 characters and more
Open = Callable[..., Window]


class Back(BaseHTTPRequestHandler):
    """Where a relying party waits for the member."""

    def do_GET(self) -> None:
        page = f"<!doctype html><html lang=en><title>Back</title><main><h1>Back</h1>{self.command} {self.path}</main></html>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(page.encode())

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def back() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Back)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launch() as running:
        yield running


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    named = os.environ.get("FARMLET_SCREENSHOTS")
    chosen = Path(named) if named else tmp_path_factory.mktemp("screenshots")
    chosen.mkdir(parents=True, exist_ok=True)
    return chosen


@pytest.fixture
def open_window(browser: Browser, service: Service, back: str, folder: Path) -> Iterator[Open]:
    """Opens a window of a person who is logged in if they are named; none may have had a fault in the end."""
    windows: list[Window] = []

    def show(name: str = "", javascript: bool = True) -> Window:
        context = browser.new_context(ignore_https_errors=True, java_script_enabled=javascript, locale="en-GB")
        context.set_default_timeout(20_000)
        windows.append(Window(context.new_page(), folder, service.issuer, back))
        if name:
            windows[-1].open(f"{service.issuer}/login/")
            log_in(windows[-1], name)
        return windows[-1]

    yield show
    for window in windows:
        window.page.context.close()
        assert not window.faults, window.faults


@pytest.fixture(scope="module")
def party(service: Service, back: str) -> Party:
    grants = ("--grant=code,device,refresh", f"--redirect-uri={back}/back", f"--post-logout-uri={back}/bye")
    service.do("client", "ensure", "plots", "--name", "Plot gallery", "--public", *grants)
    return Party(service, "plots", back=f"{back}/back")


@pytest.fixture(scope="module", autouse=True)
def people(service: Service) -> None:
    service.join("dagmar", "lab/production")


def log_in(window: Window, name: str, password: str = PASSWORD) -> None:
    window.fill(username=name, password=password)
    window.press("Log in")


def invite(service: Service, name: str, *options: str) -> str:
    """The link that a new member is sent."""
    link: str = json.loads(service.do("member", "add", name, "--group=lab", "--json", *options))["join"]
    return link


def test_log_in(service: Service, open_window: Open) -> None:
    window = open_window()
    assert window.open(f"{service.issuer}/") == 200
    window.look("login", "Log in")
    for _ in range(5):
        log_in(window, "waldtraut", "wrong")
    window.look("login-wrong", "Name and password do not fit together")
    log_in(window, "waldtraut", "wrong")
    window.look("login-wait", "Too many failed attempts", "Please wait")
    log_in(window, "dagmar")
    window.look("home", "Dagmar", "lab/production")


@pytest.mark.parametrize(("name", "verb", "text"), [("kunigunde", "suspend", "suspended"), ("liselotte", "remove", "has ended")])
def test_who_may_not_come_in_is_told_why(service: Service, open_window: Open, name: str, verb: str, text: str) -> None:
    service.join(name)
    service.do("member", verb, name)
    window = open_window()
    window.open(f"{service.issuer}/login/")
    log_in(window, name)
    window.look(f"login-{verb}", text)


def test_code_flow(service: Service, open_window: Open, party: Party) -> None:
    window = open_window()
    window.open(party.url(scope=WIDE))
    window.look("login-destination", "Plot gallery")
    log_in(window, "dagmar")
    window.look("consent", "Plot gallery", "read your data: /", "http://127.0.0.1")
    window.press("Allow")
    assert f"GET /back?code=" in window.text and window.page.url.startswith(party.back)
    window.open(party.url(scope=WIDE))
    window.press("Deny")
    assert "error=access_denied" in window.text


def test_programs_that_say_much_or_get_little(service: Service, open_window: Open, party: Party, back: str) -> None:
    registered = Registrar(service).register(
        client_name=LONG, redirect_uris=[f"{back}/back"], grant_types=["authorization_code"], scope=WIDE
    )
    window = open_window("dagmar")
    scope = f"{WIDE} storage.modify:/{'a-very-long-name-of-a-folder' * 6} storage.stage:/tape compute.create"
    window.open(Party(service, registered["client_id"], back=f"{back}/back").url(scope=scope, audience="https://se.example.org:1094"))
    window.look("consent-registered", "This program registered itself", "it will not get", "se.example.org")
    service.join("edeltraud", "visitors")
    poor = open_window("edeltraud")
    poor.open(service.begin(scope="storage.read:/")["verification_uri_complete"])
    poor.look("consent-nothing", "none of the rights")


def test_device_flow(service: Service, open_window: Open) -> None:
    window = open_window("dagmar")
    window.press("Allow a device or program")
    window.look("device", "The code it shows you")
    window.fill(user_code="BBBB-BBBB")
    window.press("Go on")
    window.look("device-unknown", "not known")
    started = service.begin(scope=WIDE)
    window.fill(user_code=started["user_code"].lower())
    window.press("Go on")
    window.look("device-consent", "Farmlet command", started["user_code"], "change and delete files")
    window.press("Allow")
    window.look("device-allowed", "Allowed")
    assert service.redeem(started).status == 200
    denied = service.begin()
    window.open(denied["verification_uri_complete"])
    window.press("Deny")
    window.look("device-denied", "Denied")
    assert service.redeem(denied).body["error"] == "access_denied"


def test_too_many_codes(service: Service, open_window: Open) -> None:
    service.join("wilhelmine")
    window = open_window("wilhelmine")
    for letter in "BCDFGH":
        window.open(f"{service.issuer}/device/?user_code=BBBB-BBB{letter}")
    window.look("device-wait", "Too many wrong codes")


def test_join(service: Service, open_window: Open) -> None:
    link = invite(service, "hildegund", "--name", LONG[:200])
    window = open_window()
    window.open(link)
    window.look("join", "hildegund", "Ünïversität")
    window.fill(new_password1="password1234", new_password2="password")
    window.press("Set the password")
    window.look("join-wrong", "match")
    window.fill(new_password1=PASSWORD, new_password2=PASSWORD)
    window.press("Set the password")
    window.look("home-long", "hildegund", "Log out")
    assert open_window().open(link) == 404
    other = open_window()
    other.open(invite(service, "irmtraud", "--pending", "--name=Irmtraud"))
    other.fill(new_password1=PASSWORD, new_password2=PASSWORD)
    other.press("Set the password")
    other.look("join-pending", "waits for approval")


def test_home_with_all_there_is(service: Service, open_window: Open) -> None:
    service.join("thorwald", "crew/night")
    service.do("member", "extend", "thorwald", "2031-03-31")
    service.do("member", "add", "nightly", "--service", "--owner=crew/night", "--group=crew", "--name=Nightly tests")
    take = ("token", "--as=thorwald", "--by=ada", f"--reason=Upload of the night shift, {'interrupted ' * 6}")
    service.do(*take, f"--scope=openid storage.modify:/crew/{'night' * 20}")
    open_window("thorwald").look("home-all", "31 March 2031", "nightly", "Tokens taken")


def test_log_out(service: Service, open_window: Open, party: Party, back: str) -> None:
    window = open_window("dagmar")
    window.open(f"{service.issuer}/logout?client_id=plots&post_logout_redirect_uri={back}/bye")
    window.look("logout-asked", "Log out?", "dagmar")
    window.press("Stay")
    assert "Logged in as dagmar" in window.text
    window.press("Log out")
    window.look("logout", "You are logged out")
    window.press("Log in again")
    log_in(window, "dagmar")
    window.open(f"{service.issuer}/logout?client_id=plots&post_logout_redirect_uri={back}/bye")
    window.press("Log out")
    assert window.page.url == f"{back}/bye"


def test_errors(service: Service, open_window: Open, party: Party) -> None:
    window = open_window()
    assert window.open(f"{service.issuer}/nowhere") == 404
    window.look("error-404", "There is no such page")
    assert window.open(party.url(redirect_uri="https://evil.example.org/")) == 400
    window.look("error-redirect", "not registered for it")
    assert window.open(f"{service.issuer}/join/old/") == 404
    window.look("error-link", "used already")
    window.open(f"{service.issuer}/login/")
    window.page.context.clear_cookies()
    log_in(window, "dagmar")
    window.look("error-form", "expired")
    service.execute("ALTER TABLE django_session RENAME TO away")
    try:
        assert open_window().open(f"{service.issuer}/") == 200
    finally:
        service.execute("ALTER TABLE away RENAME TO django_session")
