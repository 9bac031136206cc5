"""What every answer says and hides: headers, cookies, hosts, methods, pages that echo, logs, and who is faster."""

from __future__ import annotations

import http.client
import re
import ssl
import time
import urllib.parse
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest
from browser import Browser
from issuer import PASSWORD, Service, found
from party import BACK, Party, log_in

from farmlet.runtime import audit

pytestmark = pytest.mark.service
PAGES = ("/", "/login/", "/device/", "/logout/", "/authorize", "/join/none/", "/none")
FORMS = ("/token/", "/token", "/device-authorization/", "/introspect/", "/revoke/")
KEPT = ("/jwks", "/openapi.json", "/.well-known/openid-configuration", "/style.css", "/icon.svg")
OTHERS = ("/userinfo", "/scim/v2/Users", "/scim/Me", "/scim/v2/changes", "/register/none")
EVIL = "evil.example.org"
SCRIPT = '"><script>alert(1)</script>'


@dataclass
class Raw:
    status: int
    headers: list[tuple[str, str]]
    text: str

    def header(self, name: str) -> str:
        return ", ".join(value for key, value in self.headers if key.lower() == name.lower())


def ask(service: Service, method: str, path: str, body: bytes = b"", **headers: str) -> Raw:
    """A request as nobody's library would write it; `Host` may be any, and redirects are not followed."""
    address = urlsplit(service.issuer)
    context = ssl.create_default_context(cafile=service.cafile)
    connection = http.client.HTTPSConnection("localhost", address.port, timeout=20, context=context)
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body or None, {"Host": address.netloc, **given})
    answer = connection.getresponse()
    found = Raw(answer.status, answer.getheaders(), answer.read().decode())
    connection.close()
    return found


@pytest.fixture(scope="module")
def pavla(service: Service) -> Browser:
    return service.join("pavla")[0]


@pytest.mark.once
@pytest.mark.parametrize("path", [*PAGES, *FORMS, *KEPT, *OTHERS])
def test_headers_of_every_answer(service: Service, path: str) -> None:
    for method in ("GET", "POST", "PUT"):
        answer = ask(service, method, path, b"client_id=farmlet" if method == "POST" else b"")
        assert answer.status < 500, (method, answer)
        assert answer.header("X-Content-Type-Options") == "nosniff", method
        assert answer.header("Strict-Transport-Security").startswith("max-age=31536000"), method
        if method == "GET" and path in KEPT:
            assert answer.header("Cache-Control").startswith("max-age")
        else:
            assert "no-store" in answer.header("Cache-Control"), (method, answer.header("Cache-Control"))
        if answer.header("Content-Type").startswith("text/html"):
            assert answer.header("Content-Security-Policy").startswith("default-src 'none';"), method
            assert answer.header("X-Frame-Options") == "DENY" and answer.header("Referrer-Policy") == "same-origin"
        assert not {"server", "x-powered-by"} & {name.lower() for name, value in answer.headers if "/" in value}


@pytest.mark.once
def test_cookies_are_for_this_host_and_no_script(service: Service, pavla: Browser) -> None:
    cookies = {cookie.name: cookie for cookie in pavla.cookies}
    assert set(cookies) == {"__Host-farmlet", "__Host-csrf"}
    for path in PAGES:
        for line in (value for name, value in ask(service, "GET", path).headers if name.lower() == "set-cookie"):
            words = [word.strip().lower() for word in line.split(";")]
            assert words[0].startswith("__host-") and {"secure", "httponly", "samesite=lax", "path=/"} <= set(words), line
            assert "domain" not in line.lower()
    for cookie in cookies.values():
        assert cookie.secure and cookie.path == "/" and cookie.has_nonstandard_attr("HttpOnly"), cookie


@pytest.mark.once
@pytest.mark.parametrize(
    "host", ["evil.example.org", "localhost.evil.example.org", "localhost@evil.example.org", "localhost, evil", ""]
)
def test_other_names_of_the_host(service: Service, host: str) -> None:
    """Nothing in an answer comes from the Host header or from what claims to be a proxy."""
    for path in ("/login/", "/device/", "/.well-known/openid-configuration"):
        answer = ask(service, "GET", path, Host=host)
        assert answer.status == 400 and "evil" not in answer.text + str(answer.headers), (path, answer)
    assert "evil" not in ask(service, "POST", "/token/", b"client_id=farmlet", Host=host).text
    assert "evil" not in ask(service, "POST", "/device-authorization/", b"client_id=farmlet", Host=host).text


@pytest.mark.once
def test_what_a_proxy_would_say_is_not_believed_of_others(service: Service) -> None:
    claims = {"X_Forwarded_Host": "evil.example.org", "Forwarded": "host=evil.example.org", "X_Original_URL": "/none"}
    for path in ("/device/", "/.well-known/openid-configuration", "/authorize?client_id=farmlet"):
        answer = ask(service, "GET", path, **claims)
        assert answer.status < 500 and "evil" not in answer.text + str(answer.headers), answer
    for proto in ("http", "https", "gopher", "https, http"):
        answer = ask(service, "GET", "/login/", X_Forwarded_Proto=proto)
        assert answer.status in (200, 400) and all("Secure" in value for name, value in answer.headers if name == "Set-Cookie")
    for number in range(6):  # each from an address of its own, if that were believed
        browser = Browser(service.cafile)
        page = browser.open(f"{service.issuer}/login/")
        cookie = "; ".join(f"{cookie.name}={cookie.value}" for cookie in browser.cookies)
        form = urllib.parse.urlencode({**page.forms[0].fields, "username": "proxied", "password": "wrong"}).encode()
        kind = {"Content_Type": "application/x-www-form-urlencoded", "Referer": page.url, "Cookie": cookie}
        answer = ask(service, "POST", "/login/", form, X_Forwarded_For=f"192.0.2.{number}", **kind)
    assert "Too many failed attempts" in answer.text


@pytest.mark.once
@pytest.mark.parametrize("path", [*PAGES, *FORMS, *KEPT, *OTHERS, "/register/"])
def test_methods(service: Service, path: str) -> None:
    """Others than those meant are refused, and no header makes one method of another."""
    for method in ("TRACE", "PATCH", "DELETE", "OPTIONS", "HEAD", "BREW", "get"):
        answer = ask(service, method, path)
        assert answer.status < 500 and (answer.status != 200 or method in ("HEAD", "OPTIONS")), (method, answer)
        assert SCRIPT not in answer.text
    told = ask(service, "GET", path)
    for name in ("X_HTTP_Method_Override", "X_HTTP_Method", "X_Method_Override"):
        assert ask(service, "GET", path, **{name: "DELETE"}).status == told.status


@pytest.mark.once
@pytest.mark.parametrize(
    "path",
    [
        "/none{}",
        "/authorize?client_id={}",
        "/authorize?client_id=surface&redirect_uri={}",
        "/device/?user_code={}",
        "/device/done/?decision={}",
        "/login/?login_hint={}&next={}",
        "/join/{}/",
        "/logout/?post_logout_redirect_uri={}&state={}&id_token_hint={}",
        "/register/{}",
        "/scim/v2/Users/{}",
        "/scim/v2/Users?filter={}",
        "/scim/v2/changes?cursor={}",
        "/token/?{}",
    ],
)
def test_nothing_is_echoed_as_it_came(service: Service, pavla: Browser, path: str) -> None:
    """The policy would stop a script, but none may get as far."""
    page = pavla.open(service.issuer + path.replace("{}", urllib.parse.quote(SCRIPT)))
    kind = page.headers.get("Content-Type", "")
    assert page.status < 500 and ("<script" not in page.text or "json" in kind), page.text


@pytest.mark.once
def test_refusals_echo_nothing_in_a_header(service: Service) -> None:
    answer = ask(service, "POST", "/token/", b"client_id=farmlet&grant_type=%0d%0aSet-Cookie:a=b&scope=%0d%0aX:y")
    assert answer.status == 400 and "a=b" not in str(answer.headers)
    login = ask(service, "GET", "/authorize?client_id=surface%0d%0aX:y&state=%0d%0aSet-Cookie:a=b")
    assert login.status == 400 and "a=b" not in str(login.headers)


@pytest.fixture(scope="module")
def app(service: Service) -> Party:
    return Party(service, "surface", service.register("surface", "--grant=code,refresh", f"--redirect-uri={BACK}"))


def test_a_code_redeemed_twice_at_once_gives_once_and_ends(service: Service, pavla: Browser, app: Party) -> None:
    code = app.ask(pavla)["code"]
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: app.redeem(code), range(6)))
    assert sorted(answer.status for answer in answers) == [200, 400, 400, 400, 400, 400]
    given = next(answer.body for answer in answers if answer.status == 200)
    form = {"grant_type": "refresh_token", "refresh_token": given["refresh_token"]}
    assert service.token(form, basic=f"surface:{app.secret}").body["error"] == "invalid_grant"
    assert service.request("/userinfo", bearer=given["access_token"]).status == 401


def test_two_members_who_allow_one_device_at_once(service: Service, pavla: Browser) -> None:
    petrus, _ = service.join("petrus")
    started = service.begin()
    pages = [browser.open(started["verification_uri_complete"]) for browser in (pavla, petrus)]
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda pair: pair[0].submit(pair[1], "allow").status, zip((pavla, petrus), pages, strict=True)))
    assert sorted(done) in ([200, 404], [200, 409])  # the second came a little or quite too late
    name = ("pavla", "petrus")[done.index(200)]
    token = service.redeem(started).body["access_token"]
    assert service.request("/userinfo", bearer=token).body["preferred_username"] == name


def fill(service: Service, where: str, count: int, since: str) -> None:
    """So many were counted, the last one then: in the future, where nothing may leak away meanwhile."""
    values = f"{{'failures': {count}, 'last': timezone.now() + timedelta({since})}}"
    imports = "from datetime import timedelta\nfrom django.utils import timezone\n"
    service.python(f"{imports}Attempt.objects.update_or_create({where}, defaults={values})")


def test_guesses_of_one_address_are_counted_whatever_the_names(service: Service) -> None:
    """A password costs a quarter of a second to check; one that is right is given back."""
    where = "account='log-in guesses', address='127.0.0.1'"

    def guess(name: str, password: str) -> str:
        browser = Browser(service.cafile)
        return browser.submit(browser.open(f"{service.issuer}/login/"), username=name, password=password).text

    service.join("gwen")
    try:
        fill(service, where, 299, "seconds=3")
        assert "Too many" not in guess("gwen", PASSWORD) + guess("gwen", PASSWORD)
        fill(service, where, 300, "hours=1")
        assert "Too many failed attempts from your network" in guess(f"guess{time.time()}", "wrong")
    finally:
        service.python(f"Attempt.objects.filter({where}).delete()")
    assert "Wrong name or password" in guess(f"guess{time.time()}", "wrong")


def test_device_codes_for_one_address_are_counted(service: Service) -> None:
    where = "account='device codes', address='127.0.0.1'"
    try:
        fill(service, where, 1200, "hours=1")
        refused = service.request("/device-authorization/", {"client_id": "farmlet"})
        assert (refused.status, refused.body["error"]) == (429, "temporarily_unavailable")
        fill(service, where, 1200, "seconds=-4")  # a code each three seconds
        assert service.request("/device-authorization/", {"client_id": "farmlet"}).status == 200
    finally:
        service.python(f"Attempt.objects.filter({where}).delete()")


def test_ones_own_code_in_between_buys_no_more_guesses(service: Service) -> None:
    browser, _ = service.join("quade")
    guess = f"{service.issuer}/device/?user_code=BBBB-BBB"
    assert [browser.open(guess + letter).status for letter in "BCDF"] == [404] * 4
    assert browser.open(service.begin()["verification_uri_complete"]).status == 200
    assert browser.open(f"{guess}G").status == 404 and browser.open(f"{guess}H").status == 429


def test_a_flood_of_failures_does_not_fill_the_audit_log(service: Service) -> None:
    where = "account='failed log-ins', address='127.0.0.1'"

    def count() -> int:
        browser = Browser(service.cafile)
        page = browser.open(f"{service.issuer}/login/")
        assert "Wrong name or password" in browser.submit(page, username=f"flood{time.time()}", password="wrong").text
        return service.audit.read_text().count("login.failed")

    before = count()
    try:
        fill(service, where, 300, "hours=1")
        assert count() == before
    finally:
        service.python(f"Attempt.objects.filter({where}).delete()")
    assert count() == before + 1


@pytest.fixture(scope="module")
def talkative(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that logs all it can."""
    with found(tmp_path_factory.mktemp("talkative"), "", "--log-level=debug") as running:
        yield running


@pytest.mark.once
def test_no_secret_in_any_log(talkative: Service) -> None:
    service = talkative
    secret = service.register("app", "--grant=code,refresh,exchange,client_credentials", f"--redirect-uri={BACK}")
    url = service.member("add", "quinn", "--group=lab")["join"]
    browser = Browser(service.cafile)
    assert browser.open(url, {"new_password1": PASSWORD}).status == 403  # without the form's own mark: a line in the log
    browser.submit(browser.open(url), new_password1=PASSWORD, new_password2=PASSWORD)
    log_in(Browser(service.cafile), Browser(service.cafile).open(f"{service.issuer}/login/"), "quinn")
    app = Party(service, "app", secret)
    code = app.ask(browser)["code"]
    given, started = app.redeem(code).body, service.begin()
    service.allow(browser, started)
    device = service.redeem(started).body
    assert app.redeem(code).status == 400 and service.request("/userinfo", bearer=device["access_token"]).status == 200
    basic = f"app:{app.secret}"
    service.request("/introspect/", {"token": device["access_token"]}, basic=basic)
    service.request("/revoke/", {"token": device["refresh_token"], "client_id": "farmlet"})
    service.token({"grant_type": "client_credentials"}, basic=f"{basic}-wrong")
    secrets = [PASSWORD, url.rstrip("/").rpartition("/")[2], app.secret, code, app.verifier, started["device_code"]]
    secrets += [body[name] for body in (given, device) for name in ("access_token", "refresh_token", "id_token")]
    secrets += [secret.rpartition(".")[2] for secret in secrets if "." in secret]
    secrets += [cookie.value or "" for cookie in browser.cookies] + [
        started["user_code"],
        (service.folder / "secret").read_text().strip(),
    ]
    logs = (service.folder / "gunicorn.log").read_text() + service.audit.read_text()
    assert "DEBUG" in logs and "Forbidden" in logs and re.search("/join/…", logs)
    assert not [secret for secret in secrets if secret in logs or urllib.parse.quote(secret) in logs]
    assert audit.verify(service.audit) > 5
