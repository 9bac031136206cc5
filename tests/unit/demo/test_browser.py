"""The browser against pages as Django makes them: cookies, forged requests refused, redirects to the log-in."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from http.cookies import SimpleCookie
from http.server import ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from farmlet.demo.browser import Browser, parse
from farmlet.errors import FarmletError
from waiting import Silent, serve

PAGE = """<html><head><title>Join</title><style>p {color: red}</style></head><body><h1>Welcome</h1>
<form method="post" action="?x=1"><input type="hidden" name="csrfmiddlewaretoken" value="s&amp;t">
<label for="p">Password</label><input type="password" id="p" name="new1"><input type="password" name="new2">
<input type="checkbox" name="a"><input type="checkbox" name="b" value="yes" checked>
<button type="submit" name="decision" value="deny">Deny</button>
<button name="decision" value="yes">Allow <b>it</b></button>
<input type="submit" name="later" value="Later"></form></body></html>"""
LOGIN = '<input name="username"><input type="password" name="password"><button>Sign in</button>'
DECISION = '<button name="d" value="deny">Deny</button><button name="d" value="allow">Allow</button>'


def test_forms_are_parsed() -> None:
    page = parse("https://x.test/join/", PAGE)
    (form,) = page.forms
    assert (form.action, form.method) == ("?x=1", "post")
    assert form.fields == {"csrfmiddlewaretoken": "s&t", "new1": "", "new2": "", "b": "yes"}
    assert form.names("password") == ["new1", "new2"]
    assert [button.text for button in form.buttons] == ["Deny", "Allow it", ""]
    allow, later = form.button("allow"), form.button("later")
    assert allow is not None and allow.value == "yes"
    assert later is not None and later.value == "Later"
    assert page.text == "Welcome Password"


def test_html_that_ends_early_is_no_crash() -> None:
    assert parse("u", '<form><input name="a" value="1"><button>Go').forms[0].fields == {"a": "1"}


class Site:
    """Join, log-in and device pages of one account."""

    def __init__(self) -> None:
        self.password = ""
        self.sessions: set[str] = set()
        self.allowed: list[str] = []
        self.url = ""


class Pages(Silent):
    """The pages of `site`, an attribute of the server."""

    @property
    def site(self) -> Site:
        return self.server.site  # type: ignore[attr-defined,no-any-return]

    @property
    def cookies(self) -> dict[str, str]:
        return {name: morsel.value for name, morsel in SimpleCookie(self.headers.get("Cookie", "")).items()}

    def page(self, body: str, status: int = 200, location: str = "", cookie: str = "") -> None:
        self.send_response(status)
        for name, value in (("Location", location), ("Set-Cookie", cookie)):
            if value:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body.encode())

    def form(self, inner: str) -> None:
        forgery = secrets.token_hex(8)
        hidden = f'<input type="hidden" name="csrfmiddlewaretoken" value="{forgery}">'
        self.page(f'<form method="post">{hidden}{inner}</form>', cookie=f"csrftoken={forgery}; Path=/")

    def do_GET(self) -> None:
        if self.path.startswith("/join/"):
            self.form('<input type="password" name="password1"><input type="password" name="password2">')
        elif self.path.startswith("/login/"):
            self.form(LOGIN)
        elif self.cookies.get("sessionid") not in self.site.sessions:
            self.page("", 302, f"/login/?next={self.path}")
        else:
            code = parse_qs(urlsplit(self.path).query)["user_code"][0]
            self.form(f'<input type="hidden" name="user_code" value="{code}">{DECISION}')

    def do_POST(self) -> None:
        size = int(self.headers["Content-Length"])
        fields = {name: values[0] for name, values in parse_qs(self.rfile.read(size).decode()).items()}
        forged = fields.get("csrfmiddlewaretoken") != self.cookies.get("csrftoken")
        if forged or not self.headers.get("Referer", "").startswith(self.site.url):
            self.page("forged", 403)
        elif self.path.startswith("/join/"):
            if fields["password1"] == fields["password2"]:
                self.site.password = fields["password1"]
            self.page("", 302, "/login/?next=/device/%3Fuser_code%3Dnone")
        elif self.path.startswith("/login/"):
            self.log_in(fields)
        else:
            if fields.get("d") == "allow":
                self.site.allowed.append(fields["user_code"])
            self.page("done")

    def log_in(self, fields: dict[str, str]) -> None:
        if (fields.get("username"), fields["password"]) != ("ada", self.site.password):
            self.form(f"{LOGIN} Wrong.")
            return
        session = secrets.token_hex(8)
        self.site.sessions.add(session)
        target = parse_qs(urlsplit(self.path).query)["next"][0]
        self.page("", 302, target, f"sessionid={session}; Path=/")


@pytest.fixture
def site() -> Iterator[Site]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    held = Site()
    held.url = f"http://127.0.0.1:{server.server_port}"
    server.site = held  # type: ignore[attr-defined]
    with serve(server):
        yield held


def test_join_then_allow_in_one_session(site: Site) -> None:
    browser = Browser(None)
    browser.join(f"{site.url}/join/secret/", "ada", "pass word&=")
    assert site.password == "pass word&="
    browser.allow(f"{site.url}/device/?user_code=ABCD", "ada", "pass word&=")
    browser.allow(f"{site.url}/device/?user_code=EFGH", "ada", "pass word&=")
    assert site.allowed == ["ABCD", "EFGH"]
    assert len(site.sessions) == 1


def test_allow_in_a_new_session_signs_in(site: Site) -> None:
    site.password = "right"
    Browser(None).allow(f"{site.url}/device/?user_code=ABCD", "ada", "right")
    assert site.allowed == ["ABCD"]


def test_wrong_password_is_told(site: Site) -> None:
    site.password = "right"
    with pytest.raises(FarmletError, match="ada could not sign in; the page says: Wrong"):
        Browser(None).allow(f"{site.url}/device/?user_code=ABCD", "ada", "wrong")
    assert site.allowed == []
