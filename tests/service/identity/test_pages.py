"""Every page a person comes to, walked as they would in a real browser, in each of its states.

Each page that is looked at is checked by `chromium.Window.look`; $FARMLET_SCREENSHOTS names the folder for its pictures.
"""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from chromium import Open
from issuer import ANY, ELEMENTS, PASSWORD, Service
from party import WIDE, Party
from test_registration import Registrar

pytestmark = [pytest.mark.service, pytest.mark.once, pytest.mark.browser]
LONG = "Ærøskøbing–Ünïversität·研究所 für Hochenergiephysik " * 4  # a name of 200 characters and more


def invite(service: Service, name: str, *options: str) -> str:
    """The link that a new member is sent."""
    link: str = service.member("add", name, "--group=lab", *options)["join"]
    return link


def test_log_in(service: Service, open_window: Open) -> None:
    window = open_window()
    assert window.open(f"{service.issuer}/") == 200
    window.look("login", "Log in")
    for _ in range(5):
        window.log_in("waldtraut", "wrong")
    window.look("login-wrong", "Wrong name or password")
    window.log_in("waldtraut", "wrong")
    window.look("login-wait", "Too many failed attempts", "Please wait")
    window.log_in("dagmar")
    window.look("home", "Dagmar", "lab/production")


def test_who_may_not_come_in_is_told_why(service: Service, open_window: Open) -> None:
    service.join("kunigunde")
    service.do("member", "suspend", "kunigunde")
    window = open_window()
    window.open(f"{service.issuer}/login/")
    window.log_in("kunigunde")
    window.look("login-suspended", "Your membership is suspended")


def test_code_flow(service: Service, open_window: Open, gallery: Party) -> None:
    window = open_window()
    window.open(gallery.url(scope=WIDE))
    window.look("login-destination", "Plot gallery")
    window.log_in("dagmar")
    window.look("consent", "Plot gallery", "read files in /", "http://127.0.0.1")
    window.press("Allow")
    assert "GET /back?code=" in window.text and window.page.url.startswith(gallery.back)
    window.open(gallery.url(scope=WIDE))
    window.press("Deny")
    assert "error=access_denied" in window.text


def test_programs_that_say_much_or_get_little(service: Service, open_window: Open, gallery: Party, back: str) -> None:
    registered = Registrar(service).register(
        client_name=LONG, redirect_uris=[f"{back}/back"], grant_types=["authorization_code"], scope=WIDE
    )
    window = open_window("dagmar")
    scope = f"{WIDE} storage.modify:/{'a-very-long-name-of-a-folder' * 6} storage.stage:/tape compute.create"
    window.open(
        Party(service, registered["client_id"], back=f"{back}/back").url(scope=scope, audience="https://se.example.org:1094")
    )
    window.look("consent-registered", "This program registered itself", "it will not get", "only at https://se.example.org:1094")
    more = f"https://{'a-long-name.' * 8}example.org"
    named = Party(service, registered["client_id"], back=f"{back}/back").url(scope="openid", audience=f"{ELEMENTS[0]} {more}")
    window.open(named)
    window.look("consent-places", "only at", more)
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
    started = service.begin()
    window.fill(user_code=started["user_code"].lower())
    window.press("Go on")
    window.look("device-consent", "Farmlet command", started["user_code"], "read files in /")
    window.press("Allow")
    window.look("device-allowed", "Allowed")
    assert service.redeem(started).status == 200
    into = service.begin(audience=f"ssh {ANY}")  # as `farmlet login` asks
    window.open(into["verification_uri_complete"])
    window.look("device-consent-login", "log in by SSH as you", "run programs", "every storage of Example facility")
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
    link = invite(service, "hildegund", "--title", LONG[:200])
    window = open_window()
    window.open(link)
    window.look("join-long", "hildegund", "Ünïversität")
    assert window.page.locator("[autocomplete=new-password]").count() == 2  # what keeps passwords then offers one
    window.fill(new_password1="password1234", new_password2="password")
    window.press("Set the password")
    window.look("join-wrong", "The two are not the same")
    window.fill(new_password1=PASSWORD, new_password2=PASSWORD)
    window.press("Set the password")
    window.look("home-long", "hildegund", "Log out")
    assert open_window().open(link) == 404
    other = open_window()
    other.open(invite(service, "irmtraud", "--pending", "--title=Irmtraud"))
    other.look("join", "Irmtraud", "At least 12 characters")
    other.fill(new_password1=PASSWORD, new_password2=PASSWORD)
    other.press("Set the password")
    other.look("join-pending", "waits for approval")


def test_home_with_all_there_is(service: Service, open_window: Open) -> None:
    service.join("thorwald", "lab/shift")
    service.do("member", "extend", "thorwald", "2031-03-31")
    service.do("member", "add", "nightly", "--service", "--owner=lab/shift", "--group=lab", "--title=Nightly tests")
    take = ("token", "--as=thorwald", "--by=ada", f"--reason=Upload of the night shift, {'interrupted ' * 6}")
    service.do(*take, f"--scope=openid storage.modify:/shift/{'night' * 20}")
    now = datetime.now(UTC).strftime("%-d %B %Y, %H:")
    open_window("thorwald").look("home-all", "31 March 2031", "nightly", "Tokens taken", now)


def test_log_out(service: Service, open_window: Open, gallery: Party, back: str) -> None:
    window = open_window("dagmar")
    window.open(f"{service.issuer}/logout?client_id=gallery&post_logout_redirect_uri={back}/bye")
    window.look("logout-asked", "Log out?", "dagmar")
    window.press("Stay")
    assert "Logged in as dagmar" in window.text
    window.press("Log out")
    window.look("logout", "You are logged out")
    window.press("Log in again")
    window.log_in("dagmar")
    window.open(f"{service.issuer}/logout?client_id=gallery&post_logout_redirect_uri={back}/bye")
    window.press("Log out")
    assert window.page.url == f"{back}/bye"


def test_errors(service: Service, open_window: Open, gallery: Party) -> None:
    window = open_window()
    assert window.open(f"{service.issuer}/nowhere") == 404
    window.look("error-404", "There is no such page")
    assert window.open(gallery.url(redirect_uri="https://evil.example.org/")) == 400
    window.look("error-redirect", "not registered for it")
    assert window.open(f"{service.issuer}/join/old/") == 404
    window.look("error-link", "used already")
    window.open(f"{service.issuer}/login/")
    window.page.context.clear_cookies()
    window.log_in("dagmar")
    window.look("error-form", "expired")


def test_the_page_of_a_fault_of_ours(service: Service, open_window: Open) -> None:
    window = open_window("dagmar")
    service.execute("ALTER TABLE django_session RENAME TO away")
    try:
        assert window.open(f"{service.issuer}/") == 500
        window.look("error-500", "went wrong on our side")
    finally:
        service.execute("ALTER TABLE away RENAME TO django_session")
