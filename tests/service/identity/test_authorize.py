"""Authorization code with PKCE: consent, codes, redirects, against the real server."""

from __future__ import annotations

import json
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor

import pytest
from browser import Browser
from issuer import Service, claims, decode
from party import BACK, Party, log_in, read_back

from farmlet.runtime.tokens import Verifier

pytestmark = pytest.mark.service
ANY = "https://wlcg.cern.ch/jwt/v1/any"
PUBLIC = ("--public", "--grant=code,refresh", f"--redirect-uri={BACK}", "--redirect-uri=http://127.0.0.1:8000/cb?x=1")


@pytest.fixture(scope="module")
def ada(service: Service) -> Browser:
    return service.join("ada", "lab/production")[0]


@pytest.fixture(scope="module")
def app(service: Service) -> Party:
    """A public client."""
    service.do("client", "ensure", "app", "--name=The <App>", *PUBLIC)
    service.do("client", "ensure", "other", *PUBLIC)
    return Party(service, "app")


def register(service: Service, name: str, *options: str) -> Party:
    return Party(service, name, service.register(name, "--grant=code,refresh", f"--redirect-uri={BACK}", *options))


def test_code_becomes_tokens(service: Service, ada: Browser, app: Party) -> None:
    back = app.ask(ada, scope="openid profile offline_access storage.modify:/", audience="https://se.example.org")
    assert back["state"] == "st/ate &1" and back["iss"] == service.issuer
    answer = app.redeem(back["code"])
    assert answer.status == 200, answer
    token = Verifier(service.issuer, "https://se.example.org", service.cafile).verify(answer.body["access_token"])
    assert token.username == "ada" and "storage.modify:/users/ada" in token.scopes
    header, identity = decode(answer.body["id_token"].split(".")[0]), claims(answer.body["id_token"])
    assert header["alg"] == "RS256" and identity["nonce"] == "n-0S6" and identity["aud"] == "app"
    assert time.time() - 60 < identity["auth_time"] <= time.time() and "acr" not in identity and identity["at_hash"]
    again = service.refresh(answer.body["refresh_token"], "app").body
    assert claims(again["access_token"])["aud"] == "https://se.example.org"
    assert claims(again["id_token"])["auth_time"] == identity["auth_time"] and "nonce" not in claims(again["id_token"])
    without = app.redeem(app.ask(ada, scope="storage.read:/", state=None)["code"]).body
    assert "refresh_token" not in without and "id_token" not in without


@pytest.mark.parametrize(
    "name", ["client", "user", "grant", "device", "connection", "authenticated", "granted_audience", "scopes"]
)
def test_form_fields_do_not_pose_as_what_the_service_knows(service: Service, ada: Browser, app: Party, name: str) -> None:
    answer = app.redeem(app.ask(ada)["code"], **{name: "x"})
    assert answer.status == 200 and claims(answer.body["access_token"])["preferred_username"] == "ada"
    form = {"grant_type": "refresh_token", "refresh_token": answer.body["refresh_token"], "client_id": "app", name: "x"}
    assert service.token(form).status == 200
    assert service.token({"grant_type": "client_credentials", name: "x"}, service.basic("accounts")).status == 200


def test_id_tokens_are_signed_as_the_client_wants(service: Service, ada: Browser) -> None:
    party = register(service, "elliptic", "--algorithm=ES256")
    token = party.redeem(party.ask(ada)["code"]).body["id_token"]
    header = decode(token.split(".")[0])
    key = next(key for key in service.request("/jwks").body["keys"] if key["kid"] == header["kid"])
    assert header["alg"] == key["alg"] == "ES256"


def test_log_in_leads_back_to_the_consent(service: Service, ada: Browser, app: Party) -> None:
    browser = Browser(service.cafile)
    page = browser.open(app.url(login_hint="ada"))
    assert "/login/" in page.url and page.forms[0].fields["username"] == "ada"
    assert "form-action 'self' https://client.example.org;" in page.headers["Content-Security-Policy"]
    assert "go on to <em>The &lt;App&gt;</em>" in page.text
    page = log_in(browser, page, "ada")
    assert "Allow <em>The &lt;App&gt;</em>" in page.text and "https://client.example.org" in page.text
    assert "form-action 'self' https://client.example.org;" in page.headers["Content-Security-Policy"]
    assert "code" in read_back(browser.submit(page, "allow"), BACK)


def test_consent_is_cut_to_the_rights_and_sealed(service: Service, ada: Browser, app: Party) -> None:
    page = ada.open(app.url(scope="openid storage.modify:/users/bob storage.read:/data"))
    assert "will not get <code>storage.modify:/users/bob</code>" in page.text
    assert read_back(ada.submit(page, "deny"), BACK)["error"] == "access_denied"
    # a form whose address was widened after it was shown is shown again
    page.forms[0].action = page.forms[0].action.replace("storage.read%3A%2Fdata", "storage.read%3A%2F")
    again = ada.submit(page, "allow")
    assert again.status == 200 and "<code>storage.read:/</code>" in again.text
    page.forms[0].fields["csrfmiddlewaretoken"] = "x" * 64
    assert ada.submit(page, "allow").status == 403
    assert ada.open(page.url, {"decision": "allow", "seal": page.forms[0].fields["seal"]}, page.url).status == 403
    assert ada.open(page.url, {**page.forms[0].fields, "decision": "allow"}, "https://elsewhere.example.org/").status == 403
    refused = app.ask(ada, scope="storage.modify:/users/bob")
    assert refused["error"] == "invalid_scope" and refused["state"] == "st/ate &1" and refused["iss"] == service.issuer


def test_rights_count_again_at_redemption(service: Service, app: Party) -> None:
    browser, _ = service.join("gone")
    code = app.ask(browser)["code"]
    service.do("member", "suspend", "gone")
    assert app.redeem(code).body["error"] == "invalid_grant"


def test_replayed_code_ends_what_it_gave(service: Service, ada: Browser, app: Party) -> None:
    code = app.ask(ada)["code"]
    first = app.redeem(code).body
    assert app.redeem(code).body["error"] == "invalid_grant"
    assert service.refresh(first["refresh_token"], "app").body["error"] == "invalid_grant"
    lines = [json.loads(line) for line in (service.folder / "db" / "audit.log").read_text().splitlines()]
    assert any(line["event"] == "code.replayed" and line["member"] == "ada" and line["client"] == "app" for line in lines)
    assert code not in str(lines)
    code = app.ask(ada)["code"]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: app.redeem(code), range(4)))
    won = [answer.body for answer in answers if answer.status == 200]
    assert len(won) == 1 and service.refresh(won[0]["refresh_token"], "app").status == 400


def test_code_is_for_its_client_and_its_redirect(service: Service, ada: Browser, app: Party) -> None:
    code = app.ask(ada)["code"]
    other = Party(service, "other", verifier=app.verifier)
    assert other.redeem(code).body["error"] == "invalid_grant"
    for wrong in (None, "", f"{BACK}/", "http://127.0.0.1:8000/cb?x=1"):
        assert app.redeem(code, redirect_uri=wrong).body["error"] == "invalid_grant"
    assert app.redeem(code[:-1]).body["error"] == "invalid_grant"
    assert app.redeem(code).status == 200  # nobody else's attempt used it up


@pytest.mark.parametrize("verifier", ["", None, "x" * 43])
def test_verifier_wrong_or_missing(ada: Browser, app: Party, verifier: str | None) -> None:
    answer = app.redeem(app.ask(ada)["code"], code_verifier=verifier)
    assert answer.status == 400 and answer.body["error"] in ("invalid_grant", "invalid_request")


@pytest.mark.parametrize(
    "changes",
    [
        {"code_challenge": None, "code_challenge_method": None},
        {"code_challenge": None},
        {"code_challenge_method": "plain"},
        {"code_challenge_method": None},
        {"code_challenge": "short"},
        {"response_type": None},
        {"max_age": "-1"},
        {"prompt": "none login"},
        {"prompt": "sing"},
        {"response_mode": "fragment"},
        {"nonce": "n" * 256},
        {"scope": "openid\0"},
    ],
)
def test_bad_requests_are_told_to_the_client(ada: Browser, app: Party, changes: dict[str, str | None]) -> None:
    assert app.ask(ada, **changes)["error"] == "invalid_request"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": "code id_token"}, "unsupported_response_type"),
        ({"request": "e30.e30."}, "request_not_supported"),
        ({"request_uri": "https://client.example.org/r"}, "request_uri_not_supported"),
        ({"scope": "scim:read"}, "invalid_scope"),
        ({"scope": ""}, "invalid_scope"),
    ],
)
def test_refusals_have_the_protocols_words(ada: Browser, app: Party, changes: dict[str, str | None], error: str) -> None:
    assert app.ask(ada, **changes)["error"] == error


def test_a_secret_spares_pkce_but_not_its_downgrade(service: Service, ada: Browser) -> None:
    party = register(service, "web", "--audience=https://hub.example.org")
    plain = {"code_challenge": None, "code_challenge_method": None}
    audience = {"resource": "https://hub.example.org"}
    answer = party.redeem(party.ask(ada, **plain, **audience)["code"], code_verifier=None)
    assert claims(answer.body["access_token"])["aud"] == "https://hub.example.org"
    assert party.redeem(party.ask(ada, **plain, **audience)["code"]).body["error"] == "invalid_request"
    assert party.redeem(party.ask(ada, **audience)["code"], code_verifier=None).body["error"] == "invalid_request"
    assert party.ask(ada, resource="https://se.example.org")["error"] == "invalid_target"
    # what was allowed to a client with a secret need not be allowed again, unless it is more
    assert "code" in read_back(ada.open(party.url(prompt="none", **audience)), BACK)
    assert ada.open(party.url(scope="openid profile", **audience)).status == 200
    assert ada.open(party.url(prompt="consent", **audience)).status == 200
    assert service.token({"grant_type": "authorization_code", "code": "x", "client_id": "web"}).status == 401


@pytest.mark.parametrize(
    "uri",
    [
        None,
        "",
        f"{BACK}/more",
        f"{BACK}/",
        f"{BACK}?a=b",
        f"{BACK}#f",
        "https://client.example.org/back/../back",
        "https://client.example.org/%62ack",
        "https://client.example.org/BACK",
        "https://CLIENT.example.org/back",
        "https://client.example.org:443/back",
        "https://client.example.org@evil.example.org/back",
        "https://a.client.example.org/back",
        "https://client.example.org.evil.example.org/back",
        "http://client.example.org/back",
        "javascript:alert(1)//https://client.example.org/back",
        "//client.example.org/back",
        f" {BACK}",
        f"{BACK}\r\nX: y",
        "http://127.0.0.1:80@evil.example.org/cb?x=1",
        "http://127.0.0.1:8000/cb",
        "http://127.0.0.1.evil.example.org:8000/cb?x=1",
        "http://localhost:8000/cb?x=1",
        "https://127.0.0.1:8000/cb?x=1",
    ],
)
def test_redirect_tricks_end_on_a_page(service: Service, ada: Browser, app: Party, uri: str | None) -> None:
    page = ada.open(app.url(redirect_uri=uri))
    assert page.status == 400 and "not registered" in page.text and "Location" not in page.headers
    assert page.url.startswith(service.issuer)


def test_unknown_client_and_doubled_redirect_end_on_a_page(ada: Browser, app: Party) -> None:
    assert ada.open(app.url(client_id="unknown")).status == 400
    assert ada.open(app.url(client_id="app\0")).status == 400
    assert ada.open(app.url() + "&redirect_uri=https://evil.example.org/").status == 400
    assert read_back(ada.open(app.url() + "&scope=openid"), BACK)["error"] == "invalid_request"


def test_loopback_takes_any_port(service: Service, ada: Browser, app: Party) -> None:
    party = Party(service, "app", back="http://127.0.0.1:54321/cb")
    page = ada.submit(ada.open(party.url(redirect_uri="http://127.0.0.1:54321/cb?x=1")), "allow")
    back = read_back(page, party.back)
    assert back["x"] == "1"
    assert party.redeem(back["code"], redirect_uri="http://127.0.0.1:54322/cb?x=1").body["error"] == "invalid_grant"
    assert party.redeem(back["code"], redirect_uri="http://127.0.0.1:54321/cb?x=1").status == 200


def test_prompt_and_age(service: Service, ada: Browser, app: Party) -> None:
    nobody = Browser(service.cafile)
    assert read_back(nobody.open(app.url(prompt="none")), BACK)["error"] == "login_required"
    assert read_back(ada.open(app.url(prompt="none")), BACK)["error"] == "consent_required"
    assert ada.open(app.url(max_age="10000")).forms[0].buttons
    for changes in ({"prompt": "login"}, {"max_age": "0"}, {"prompt": "select_account"}):
        time.sleep(0.01)
        page = ada.open(app.url(**changes))
        assert "/login/" in page.url, changes
        begun = time.time()
        # going round the log-in does not help
        direct = urllib.parse.parse_qs(urllib.parse.urlsplit(page.url).query)["next"][0]
        assert "/login/" in ada.open(service.issuer + direct).url
        page = log_in(ada, page, "ada")
        back = read_back(ada.submit(page, "allow"), BACK)
        assert claims(app.redeem(back["code"]).body["id_token"])["auth_time"] >= int(begun)
        assert "/login/" in ada.open(app.url(**changes)).url  # each time anew


def test_trusted_client_asks_nobody(service: Service) -> None:
    browser, _ = service.join("tom")
    party = register(service, "portal", "--trusted")
    assert "code" in read_back(browser.open(party.url(prompt="none")), BACK)
    nobody = Browser(service.cafile)
    assert "code" in read_back(log_in(nobody, nobody.open(party.url()), "tom"), BACK)
    assert nobody.open(party.url(prompt="consent")).status == 200
    hint = party.redeem(party.ask(browser)["code"]).body["id_token"]
    other, _ = service.join("tim")
    assert read_back(other.open(party.url(id_token_hint=hint)), BACK)["error"] == "login_required"


def test_request_by_post_and_answer_by_form(service: Service, ada: Browser, app: Party) -> None:
    url, _, query = app.url(response_mode="form_post").partition("?")
    page = ada.open(url, dict(urllib.parse.parse_qsl(query)), referer="https://client.example.org/")
    page = ada.submit(page, "allow")
    assert (
        page.status == 200 and page.forms[0].action == BACK and "script-src 'sha256-" in page.headers["Content-Security-Policy"]
    )
    assert page.forms[0].fields["state"] == "st/ate &1"
    assert app.redeem(page.forms[0].fields["code"]).status == 200


def test_code_grows_old(service: Service, ada: Browser, app: Party) -> None:
    code = app.ask(ada)["code"]
    age = "Grant.objects.update(expires=timezone.now() - timedelta(seconds=1))"
    service.python(f"from datetime import timedelta\nfrom django.utils import timezone\n{age}")
    assert app.redeem(code).body["error"] == "invalid_grant"
    stored = b"".join(path.read_bytes() for path in (service.folder / "db").iterdir())
    assert code.encode() not in stored
