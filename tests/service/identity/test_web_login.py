"""Log-in of our own pages at the real issuer: what comes back opens a session, and nothing else does."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from browser import Browser
from issuer import Service
from party import read_back

from farmlet.web import login as module
from farmlet.web.guard import PERSON, Guard
from farmlet.web.login import BACK, SESSION, Away, Login, Person, Refused, Step
from waiting import find_port

pytestmark = [pytest.mark.service, pytest.mark.once]
ORIGIN = "https://desk.example.org"


@pytest.fixture(scope="module")
def leonora(service: Service) -> Browser:
    return service.join("leonora", "lab/production")[0]


@pytest.fixture(scope="module")
def secret(service: Service) -> str:
    return service.register("desk", "--grant=code", f"--redirect-uri={ORIGIN}{BACK}", "--scope=openid profile wlcg.groups")


@pytest.fixture
def login(service: Service, secret: str) -> Login:
    return Login(service.issuer, "desk", secret, ORIGIN, b"key of the desk", service.cafile)


def keep(step: Step, cookies: dict[str, str]) -> dict[str, str]:
    """The cookies of a browser after this step."""
    kept = dict(cookies)
    for header in step.cookies:
        name, _, value = header.partition(";")[0].partition("=")
        kept = {one: text for one, text in {**kept, name: value}.items() if text}
    return kept


def walk(browser: Browser, step: Step, button: str = "allow") -> dict[str, str]:
    """What the issuer sends the browser back with."""
    page = browser.open(step.location)
    return read_back(browser.submit(page, button) if page.status == 200 else page, ORIGIN + BACK)


def test_a_member_logs_in_and_comes_back_to_where_they_were(login: Login, leonora: Browser) -> None:
    step = login.begin("/papers?page=2")
    asked = {name: values[0] for name, values in parse_qs(urlsplit(step.location).query).items()}
    assert asked["code_challenge_method"] == "S256" and len(asked["state"]) > 40 and asked["nonce"]
    cookies = keep(step, {})
    done = login.finish(walk(leonora, step), cookies)
    assert done.location == "/papers?page=2"
    cookies = keep(done, cookies)
    assert list(cookies) == [SESSION]
    person = login.who(cookies)
    assert person and (person.name, person.display) == ("leonora", "Leonora") and "/lab/production" in person.groups
    again = login.begin()
    assert again.location != step.location, "state, nonce and challenge are of one attempt"


def test_an_answer_that_was_not_asked_for_here_is_refused(login: Login, leonora: Browser) -> None:
    first, second = login.begin(), login.begin()
    cookies = keep(second, keep(first, {}))
    back = walk(leonora, first)
    for query, kept in (
        (back, {}),  # another browser: somebody's link with their own code in it
        (back, keep(second, {})),
        ({**back, "state": ""}, cookies),
        ({**back, "state": back["state"] + "x"}, cookies),
        ({**back, "iss": "https://evil.example"}, cookies),
        ({"state": back["state"], "error": "access_denied"}, cookies),
    ):
        with pytest.raises(Refused):
            login.finish(query, kept)
    assert login.finish(back, cookies)
    with pytest.raises(Refused):  # the code works once
        login.finish(back, cookies)


def test_codes_of_different_attempts_are_not_mixed(login: Login, leonora: Browser) -> None:
    first, second = login.begin(), login.begin()
    cookies = keep(second, keep(first, {}))
    one, other = walk(leonora, first), walk(leonora, second)
    with pytest.raises(Refused):  # the issuer holds the code to its challenge
        login.finish({**one, "code": other["code"]}, cookies)


def test_an_id_token_of_another_attempt_is_refused(login: Login, leonora: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = login.begin(), login.begin()
    earlier: list[Any] = []
    fetch = login._app.fetch_access_token

    def replay(*words: Any, **more: Any) -> Any:
        earlier.append(fetch(*words, **more))
        return earlier[0]

    monkeypatch.setattr(login._app, "fetch_access_token", replay)
    assert login.finish(walk(leonora, first), keep(first, {}))
    with pytest.raises(Refused, match="InvalidClaimError"):
        login.finish(walk(leonora, second), keep(second, {}))


def test_saying_no_logs_nobody_in(service: Service, login: Login) -> None:
    browser, _ = service.join("norma")
    step = login.begin()
    with pytest.raises(Refused, match="not allowed"):
        login.finish(walk(browser, step, "deny"), keep(step, {}))


def test_a_token_for_another_client_opens_nothing(login: Login, leonora: Browser, service: Service, secret: str) -> None:
    step = login.begin()
    login.client = "another"
    with pytest.raises(Refused):
        login.finish(walk(leonora, step), keep(step, {}))


def test_attempts_and_sessions_end(login: Login, leonora: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    step = login.begin()
    cookies = keep(step, {})
    done = keep(login.finish(walk(leonora, step), cookies), {})
    later = time.time() + 601
    monkeypatch.setattr(time, "time", lambda: later)
    with pytest.raises(Refused, match="ten minutes"):
        login.finish(walk(leonora, login.begin()), cookies)
    assert login.who(done)
    monkeypatch.setattr(time, "time", lambda: later + 12 * 3600)
    assert login.who(done) is None


def test_an_issuer_that_is_away_is_told(login: Login, leonora: Browser, service: Service, secret: str) -> None:
    away = f"https://localhost:{find_port()}"
    with pytest.raises(Away):
        Login(away, "desk", secret, ORIGIN, b"key", service.cafile).begin()
    with pytest.raises(Away):  # its certificate is nobody's whom we trust
        Login(service.issuer, "desk", secret, ORIGIN, b"key").begin()


def test_a_page_behind_the_door(login: Login, leonora: Browser) -> None:
    seen: list[Person] = []

    def app(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        seen.append(environ[PERSON])
        start("200 OK", [])
        return [b"papers"]

    def ask(path: str, query: str, cookies: dict[str, str]) -> tuple[int, Step, bytes]:
        found: list[Any] = []
        header = "; ".join(f"{name}={value}" for name, value in cookies.items())
        environ = {"PATH_INFO": path, "QUERY_STRING": query, "REQUEST_METHOD": "GET", "HTTP_COOKIE": header}
        body = b"".join(Guard(app, login, "Lab")(environ, lambda status, headers: found.extend((int(status[:3]), headers))))
        told = tuple(value for name, value in found[1] if name == "Set-Cookie")
        return found[0], Step(dict(found[1]).get("Location", ""), told), body

    status, step, _ = ask("/papers", "page=2", {})
    assert status == 303 and step.location.startswith(login.issuer) and not seen
    cookies = keep(step, {})
    page = leonora.open(step.location)
    page = leonora.submit(page, "allow") if page.status == 200 else page
    status, step, _ = ask(BACK, urlsplit(page.headers["Location"]).query, cookies)
    assert (status, step.location) == (303, "/papers?page=2")
    assert ask("/papers", "page=2", keep(step, cookies))[2] == b"papers"
    assert [replace(person, sub="", groups=()) for person in seen] == [Person("", "leonora", (), "Leonora")]
    status, _, body = ask(BACK, urlsplit(page.headers["Location"]).query, {})
    assert status == 403 and b"You are not logged in" in body and module.BACK.encode() not in body
