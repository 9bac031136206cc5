"""Logging out, by oneself and because a relying party asks (OpenID Connect RP-Initiated Logout)."""

from __future__ import annotations

import urllib.parse

import pytest
from browser import Browser
from issuer import Service
from party import BACK, Party, read_back

pytestmark = pytest.mark.service
AFTER = "https://client.example.org/bye"


@pytest.fixture(scope="module")
def party(service: Service) -> Party:
    options = ("--grant=code", f"--redirect-uri={BACK}", f"--post-logout-uri={AFTER}", "--trusted")
    return Party(service, "leaver", service.register("leaver", *options))


@pytest.fixture(scope="module")
def lena(service: Service, party: Party) -> str:
    """An ID token of hers."""
    browser, _ = service.join("lena")
    token: str = party.redeem(party.ask(browser)["code"]).body["id_token"]
    return token


def log_in(service: Service, name: str = "lena") -> Browser:
    browser = Browser(service.cafile)
    page = browser.submit(browser.open(f"{service.issuer}/login/"), username=name, password="correct horse battery")
    assert f"Logged in as {name}" in page.text
    return browser


def open_logout(browser: Browser, service: Service, **query: str):  # type: ignore[no-untyped-def]
    return browser.open(f"{service.issuer}/logout?{urllib.parse.urlencode(query)}")


def is_in(browser: Browser, service: Service) -> bool:
    return "/login/" not in browser.open(f"{service.issuer}/").url


def test_own_button_logs_out_and_ends_the_session(service: Service, lena: str) -> None:
    browser = log_in(service)
    kept = next(cookie.value for cookie in browser.cookies if "farmlet" in cookie.name)
    assert "You are logged out" in browser.submit(browser.open(f"{service.issuer}/"), "leave").text
    assert not is_in(browser, service)
    other = log_in(service)
    next(cookie for cookie in other.cookies if "farmlet" in cookie.name).value = kept
    assert not is_in(other, service)  # a copy of the cookie is worth nothing
    assert "You are logged out" in Browser(service.cafile).open(f"{service.issuer}/logout").text


def test_hint_that_fits_logs_out_at_once(service: Service, party: Party, lena: str) -> None:
    browser = log_in(service)
    page = open_logout(browser, service, id_token_hint=lena, post_logout_redirect_uri=AFTER, state="a&b")
    assert read_back(page, AFTER) == {"state": "a&b"}
    assert not is_in(browser, service)


@pytest.mark.parametrize("hint", ["none", "of another", "forged"])
def test_otherwise_the_member_is_asked(service: Service, party: Party, lena: str, hint: str) -> None:
    service.join("leo") if hint == "of another" else None
    browser = log_in(service, "leo" if hint == "of another" else "lena")
    hints = {"none": {"client_id": "leaver"}, "of another": {"id_token_hint": lena}}
    query = hints.get(hint, {"id_token_hint": lena[:-8] + "AAAAAAAA", "client_id": "leaver"})
    page = open_logout(browser, service, **query, post_logout_redirect_uri=AFTER, state="s")
    assert page.status == 200 and "Log out?" in page.text and is_in(browser, service)
    token = page.forms[0].fields.pop("csrfmiddlewaretoken")
    assert browser.submit(page, "leave").status == 403 and is_in(browser, service)
    page.forms[0].fields["csrfmiddlewaretoken"] = token
    assert read_back(browser.submit(page, "leave"), AFTER) == {"state": "s"}
    assert not is_in(browser, service)


def test_access_token_is_no_hint(service: Service, lena: str) -> None:
    browser = log_in(service)
    token = service.do("token", "--as=lena", "--scope=openid", "--reason=test", "--by=carol").strip()
    assert "Log out?" in open_logout(browser, service, id_token_hint=token).text


@pytest.mark.parametrize(
    "uri", [f"{AFTER}/", f"{AFTER}?a=b", BACK, "https://evil.example.org/", "//evil.example.org", "javascript:x"]
)
def test_only_registered_addresses_follow(service: Service, lena: str, uri: str) -> None:
    browser = log_in(service)
    for query in ({"id_token_hint": lena}, {"client_id": "leaver"}, {"client_id": "farmlet"}, {}):
        page = open_logout(browser, service, **query, post_logout_redirect_uri=uri)
        assert page.status == 400 and "Location" not in page.headers
    assert open_logout(browser, service, id_token_hint=lena, client_id="farmlet").status == 400
    assert is_in(browser, service)


def test_request_from_elsewhere_by_post_is_asked_about(service: Service, lena: str) -> None:
    browser = log_in(service)
    page = browser.open(f"{service.issuer}/logout", {"client_id": "leaver"}, referer="https://client.example.org/")
    assert "Log out?" in page.text and is_in(browser, service)
