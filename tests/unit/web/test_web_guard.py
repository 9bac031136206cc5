"""The door of a members' page, as far as it needs no issuer; tests/service/identity/test_web_login.py has the real one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farmlet.web.guard import PERSON, Guard, find_target, read_cookies
from farmlet.web.login import LOCAL, SESSION, SESSION_SECONDS, Login

ORIGIN = "https://desk.farmlet.test"
CLAIMS = {"sub": "s-1", "name": "ada", "groups": ["/lab"], "display": "Ada"}


@dataclass
class Answer:
    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""


def show(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
    start("200 OK", [])
    return [environ[PERSON].name.encode()]


def make(key: bytes = b"key", origin: str = ORIGIN) -> Login:
    return Login("https://localhost:9", "desk", "secret", origin, key)  # nobody listens there


def ask(login: Login, path: str = "/", method: str = "GET", **environ: str) -> Answer:
    found = Answer()

    def start(status: str, headers: list[tuple[str, str]]) -> None:
        found.status, found.headers = int(status[:3]), headers

    request: dict[str, Any] = {"PATH_INFO": path, "REQUEST_METHOD": method, "QUERY_STRING": "", **environ}
    found.body = b"".join(Guard(show, login, "A <lab>")(request, start))
    return found


def session(login: Login, kind: str = "session", seconds: int = SESSION_SECONDS) -> str:
    return login._keep(SESSION, kind, CLAIMS, seconds).split(";")[0]


def test_a_member_comes_in_and_the_page_knows_who() -> None:
    login = make()
    assert ask(login, HTTP_COOKIE=f"a=b; {session(login)}").body == b"ada"
    cookie = login._keep(SESSION, "session", CLAIMS, SESSION_SECONDS)
    assert cookie.startswith("__Host-") and cookie.endswith("; Path=/; Max-Age=43200; Secure; HttpOnly; SameSite=Lax")


def test_no_other_cookie_opens_it() -> None:
    login, good = make(), session(make())
    others = [
        session(make(b"another")),
        session(make(origin="https://other.farmlet.test")),
        session(login, "attempt"),
        session(login, seconds=-1),
        good[:-2] + ("AA" if good[-2:] != "AA" else "BB"),
        f"{SESSION}=",
        f"{SESSION}=eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZGEifQ.",
    ]
    for cookie in others:
        assert ask(login, method="HEAD", HTTP_COOKIE=cookie).status == 401, cookie


@given(st.text())
def test_whatever_stands_in_cookies(text: str) -> None:
    login = make()
    assert login.who(read_cookies(text)) is None
    assert login.who({SESSION: text}) is None
    assert read_cookies(f"{session(login)}; {text}")[SESSION] == session(login).partition("=")[2]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"HTTP_ORIGIN": ORIGIN}, 200),
        ({"HTTP_SEC_FETCH_SITE": "same-origin"}, 200),
        ({"HTTP_ORIGIN": "https://notebooks.farmlet.test"}, 403),
        ({"HTTP_ORIGIN": "null", "HTTP_SEC_FETCH_SITE": "same-origin"}, 403),
        ({"HTTP_SEC_FETCH_SITE": "same-site"}, 403),
        ({}, 403),
    ],
)
def test_another_origin_of_the_domain_changes_nothing(headers: dict[str, str], status: int) -> None:
    """For browsers it is the same site, so its requests carry the cookies."""
    login = make()
    assert ask(login, method="POST", HTTP_COOKIE=session(login), **headers).status == status


def test_who_is_not_logged_in_is_told_in_words_while_the_issuer_is_away() -> None:
    answer = ask(make(), "/papers")
    assert answer.status == 503 and b"A &lt;lab&gt;" in answer.body and "Content-Security-Policy" in dict(answer.headers)
    # a script that fetches gains nothing by being sent to a page
    assert ask(make(), HTTP_SEC_FETCH_MODE="cors").status == 401
    assert ask(make(), "/style.css").status == 200, "the page that tells it has its theme"


def test_logging_out_forgets_the_session() -> None:
    login = make()
    answer = ask(login, "/logout", "POST", HTTP_ORIGIN=ORIGIN, HTTP_COOKIE=session(login))
    assert (
        answer.status == 303
        and ("Set-Cookie", f"{SESSION}=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Lax") in answer.headers
    )


@pytest.mark.parametrize(
    ("target", "sound"),
    [("/", True), ("/a?b=/c", True), ("//evil.example", False), ("/\\evil.example", False), ("https://evil.example", False)],
)
def test_one_comes_back_to_a_path_here(target: str, sound: bool) -> None:
    assert bool(LOCAL.fullmatch(target)) is sound
    assert not LOCAL.fullmatch(f"{target}\r\nSet-Cookie: a=b")


@given(st.text(st.characters(max_codepoint=255)))
def test_the_target_has_no_character_that_ends_a_header(path: str) -> None:
    assert not set(find_target({"PATH_INFO": path})) & set("\r\n\0 \\")
