"""Logging in: what an attacker with a form, a link or a list of names does not get."""

from __future__ import annotations

import time
import urllib.parse
from http.cookiejar import Cookie

import pytest
from browser import Browser
from issuer import PASSWORD, Service

pytestmark = pytest.mark.service
SERVICE_MEMBER = """
from farmlet.parts.identity.service.members.members import add
from farmlet.parts.identity.service.django.project import provider
member, _ = add(provider(), "robot", ["lab"], display="", email="", state="active", by="test")
member.kind, member.owner = "service", Group.objects.get(path="lab")
member.set_password("%s")
member.save()
"""


@pytest.fixture(scope="module")
def nora(service: Service) -> Browser:
    return service.join("nora")[0]


def attempt(service: Service, name: str, password: str, browser: Browser | None = None, query: str = ""):  # type: ignore[no-untyped-def]
    browser = browser or Browser(service.cafile)
    return browser.submit(browser.open(f"{service.issuer}/login/{query}"), username=name, password=password)


def find_session(browser: Browser) -> Cookie | None:
    return next((cookie for cookie in browser.cookies if cookie.name == "__Host-farmlet"), None)


def test_session_key_changes_at_log_in(service: Service, nora: Browser) -> None:
    browser = Browser(service.cafile)
    page = browser.open(f"{service.issuer}/login/")
    planted = plant(browser, "a" * 32)
    assert "Logged in as nora" in browser.submit(page, username="nora", password=PASSWORD).text
    first = find_session(browser)
    assert first is not None and first.value != planted and first.secure and first.has_nonstandard_attr("HttpOnly")
    old = first.value
    attempt(service, "nora", PASSWORD, browser)
    fresh = find_session(browser)
    assert fresh is not None and fresh.value != old
    thief = Browser(service.cafile)
    thief.open(f"{service.issuer}/login/")
    for value in (planted, old):
        plant(thief, value)
        assert "/login/" in thief.open(f"{service.issuer}/").url


def plant(browser: Browser, value: str) -> str:
    """Give the browser a session cookie of somebody's choice."""
    pattern = next(iter(browser.cookies))
    fields = {name: entry for name, entry in vars(pattern).items() if name != "_rest"}
    browser.cookies.set_cookie(Cookie(**{**fields, "name": "__Host-farmlet", "value": value, "rest": {}}))
    return value


def test_unknown_name_looks_like_a_wrong_password(service: Service, nora: Browser) -> None:
    texts: dict[str, set[str]] = {}
    seconds: dict[str, list[float]] = {}
    browser = Browser(service.cafile)
    service.do("member", "add", "fresh", "--group=lab")  # has no password yet
    names = {"known": [f"known{i}" for i in range(3)], "fresh": ["fresh"], "unknown": [f"unknown{i}" for i in range(3)]}
    for name in names["known"]:
        service.join(name)
    for number in range(5):  # fewer than lead to a delay; in turn, so that the machine's load falls on all alike
        for kind, accounts in names.items():
            name = accounts[number % len(accounts)]
            form = browser.open(f"{service.issuer}/login/")
            begun = time.perf_counter()
            page = browser.submit(form, username=name, password="wrong")
            seconds.setdefault(kind, []).append(time.perf_counter() - begun)
            shown = page.text.replace(name, "NAME").replace(page.forms[0].fields["csrfmiddlewaretoken"], "")
            texts.setdefault(kind, set()).add(f"{page.status} {shown}")
    assert len(texts["known"]) == 1 and texts["known"] == texts["unknown"] == texts["fresh"]
    # without a password to check an answer takes a tenth of the time; others on this machine cost the quickest of each kind less
    quickest = {kind: min(values) for kind, values in seconds.items()}
    assert max(quickest.values()) < 4 * min(quickest.values()), quickest


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example.org/",
        "//evil.example.org/",
        "///evil.example.org/",
        "/\\evil.example.org/",
        "\\\\evil.example.org",
        "https:evil.example.org",
        "javascript:alert(1)",
        "http://localhost/",
        " //evil.example.org",
        "/\t/evil.example.org",
        "https://localhost@evil.example.org/",
    ],
)
def test_next_stays_here(service: Service, nora: Browser, target: str) -> None:
    page = attempt(service, "nora", PASSWORD, query="?" + urllib.parse.urlencode({"next": target}))
    assert page.status == 200 and page.url == f"{service.issuer}/"


def test_next_leads_on(service: Service, nora: Browser) -> None:
    assert attempt(service, "nora", PASSWORD, query="?next=/device/").url == f"{service.issuer}/device/"


def test_guesses_elsewhere_do_not_lock_out(service: Service) -> None:
    """Attempts are counted by account and address; here the addresses are what the reverse proxy says they are."""
    service.join("vera")
    for _ in range(6):
        attempt(service, "vera", "wrong")
    assert "Too many failed attempts" in attempt(service, "vera", PASSWORD).text
    count = "Attempt.objects.filter(account='vera').update(address='192.0.2.9', last=timezone.now())"
    service.python(f"from django.utils import timezone\n{count}")
    assert "Logged in as vera" in attempt(service, "vera", PASSWORD).text


def test_device_codes_cannot_be_guessed_on_and_on(service: Service) -> None:
    browser, _ = service.join("gert")
    for number in range(5):
        assert "not known" in browser.open(f"{service.issuer}/device/?user_code=BBBB-BBB{'BCDFG'[number]}").text
    assert browser.open(f"{service.issuer}/device/?user_code=BBBB-BBBH").status == 429
    other, _ = service.join("gesa")
    assert other.open(service.begin()["verification_uri_complete"]).status == 200


def test_service_members_never_log_in(service: Service) -> None:
    service.python(SERVICE_MEMBER % PASSWORD)
    assert "Wrong name or password" in attempt(service, "robot", PASSWORD).text


def test_session_ends_where_a_member_becomes_a_service(service: Service) -> None:
    browser, _ = service.join("rob")
    service.python("Member.objects.filter(name='rob').update(kind='service', owner=Group.objects.get(path='lab'))")
    assert "/login/" in browser.open(f"{service.issuer}/").url


@pytest.mark.parametrize("path", ["/login/", "/device/", "/logout/", "/authorize/?client_id=farmlet"])
def test_every_form_is_guarded(service: Service, nora: Browser, path: str) -> None:
    nora.open(f"{service.issuer}/login/")
    form = {"decision": "allow", "username": "nora", "password": PASSWORD, "user_code": "BBBB-BBBB"}
    assert nora.open(service.issuer + path, form, referer=f"{service.issuer}/").status == 403
    assert nora.open(service.issuer + path, form, referer="https://elsewhere.example.org/").status == 403


def test_odd_input_is_no_fault_of_ours(service: Service) -> None:
    for name in ("'; DROP TABLE identity_member;--", "*)(uid=*", "\0nora", "ⓝora", "n" * 5000, "../nora", ""):
        page = attempt(service, name, "x")
        assert page.status == 200 and "Log in" in page.text
    assert Browser(service.cafile).open(f"{service.issuer}/login/?login_hint=%00&next=%00").status == 200
