"""Token exchange (RFC 8693): what a program gets for a member's token, and what it does not get."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from browser import Browser
from issuer import RIGHTS, Answer, Fields, Service, claims, write_config

from farmlet.facility.rights import Table

pytestmark = pytest.mark.service
GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS, JWT = "urn:ietf:params:oauth:token-type:access_token", "urn:ietf:params:oauth:token-type:jwt"
ELEMENT, OTHER = "https://se.example.org", "https://se2.example.org"
WIDE = "openid storage.read:/ storage.modify:/users/bettina storage.modify:/shift wlcg.groups"


@pytest.fixture(scope="module")
def bettina(service: Service) -> Browser:
    return service.join("bettina", "lab/shift", "lab/alarm")[0]


@pytest.fixture(scope="module", autouse=True)
def clients(service: Service) -> None:
    service.register("transfer", "--grant=exchange,refresh")
    scopes = "--scope=storage.read:/ storage.stage:/ offline_access"
    service.register("archive", "--grant=exchange", f"--audience={ELEMENT}", scopes)
    service.register("robot", "--grant=client_credentials", "--scope=openid scim:read")


def exchange(service: Service, token: str, client: str = "transfer", **form: Any) -> Answer:
    given = {"grant_type": GRANT, "subject_token": token, "subject_token_type": ACCESS, **form}
    return service.token(given, basic=service.basic(client))


@pytest.fixture(scope="module")
def subject(service: Service, bettina: Browser) -> str:
    return str(service.connect(bettina, scope=WIDE, audience=f"{ELEMENT} {OTHER}")["access_token"])


def test_exchange_narrows_scope_and_audience(service: Service, subject: str) -> None:
    answer = exchange(service, subject, scope="storage.read:/data storage.modify:/shift/x", audience=OTHER)
    assert answer.status == 200, answer
    assert answer.body["issued_token_type"] == ACCESS and answer.body["token_type"] == "Bearer"
    assert answer.body["scope"] == "storage.read:/data storage.modify:/shift/x"
    assert "refresh_token" not in answer.body and "id_token" not in answer.body
    body, old = claims(answer.body["access_token"]), claims(subject)
    assert (body["sub"], body["preferred_username"]) == (old["sub"], "bettina")
    assert (body["aud"], body["client_id"], body["act"]) == (OTHER, "transfer", {"sub": "transfer"})
    assert body["jti"] != old["jti"]
    assert body["exp"] <= old["exp"]
    log = [json.loads(line) for line in service.audit.read_text().splitlines()]
    line = next(line for line in reversed(log) if line["event"] == "token.exchanged")
    assert (line["member"], line["client"], line["of"], line["subject"]) == ("bettina", "transfer", "farmlet", old["jti"])
    assert line["jti"] == body["jti"] and line["audience"] == [OTHER]
    assert subject not in str(log)


def test_without_wishes_it_is_what_the_subject_token_is(service: Service, subject: str) -> None:
    answer = exchange(service, subject, subject_token_type=JWT, requested_token_type=JWT)
    assert answer.body["issued_token_type"] == JWT
    body, old = claims(answer.body["access_token"]), claims(subject)
    assert (body["scope"], body["aud"], body["wlcg.groups"]) == (old["scope"], old["aud"], ["/lab", "/lab/shift"])
    assert service.request("/userinfo", bearer=answer.body["access_token"]).body["preferred_username"] == "bettina"


def test_never_wider_than_the_subject_token(service: Service, bettina: Browser) -> None:
    token = service.connect(bettina, scope="openid storage.read:/data wlcg.groups")["access_token"]
    answer = exchange(service, token, scope="storage.read:/ storage.modify:/shift wlcg.groups:/lab/alarm")
    assert answer.body["scope"] == "storage.read:/data"  # an optional group is a privilege too
    refused = exchange(service, token, scope="storage.modify:/shift compute.create profile")
    assert (refused.status, refused.body["error"]) == (400, "invalid_scope")


def test_never_wider_than_the_client(service: Service, subject: str) -> None:
    answer = exchange(service, subject, "archive", scope="storage.read:/ storage.modify:/shift openid")
    assert answer.body["scope"] == "storage.read:/"
    assert exchange(service, subject, "archive", scope="openid").body["error"] == "invalid_scope"


def test_never_wider_than_the_rights_of_now(service: Service, bettina: Browser, subject: str, tmp_path: Path) -> None:
    """bettina's group goes out of the table; her tokens say more than she has left, at exchange, refresh and device alike."""
    offline = service.connect(bettina, scope="offline_access storage.modify:/shift")["refresh_token"]
    started = service.begin(scope="offline_access storage.modify:/shift")
    service.allow(bettina, started)
    config = json.loads(service.config.read_text())
    less = Table({path: rights for path, rights in RIGHTS.groups.items() if path != "lab/shift"})
    other = Service(service.issuer, tmp_path, service.cafile)
    write_config(other, **config | {"rights": less.to_json()})
    try:
        other.do("groups", "ensure")
        assert exchange(service, subject, scope="storage.modify:/shift").body["error"] == "invalid_scope"
        assert exchange(service, subject, scope="storage.modify:/shift openid").body["scope"] == "openid"
        assert service.refresh(offline).body["error"] == "invalid_scope"
        assert service.redeem(started).body["error"] == "invalid_scope"
    finally:
        service.do("groups", "ensure")
    assert exchange(service, subject, scope="storage.modify:/shift").status == 200
    assert service.refresh(offline).body["scope"] == "offline_access storage.modify:/shift"


def test_audience_within_the_clients(service: Service, subject: str) -> None:
    assert claims(exchange(service, subject, "archive").body["access_token"])["aud"] == ELEMENT  # what both have
    refused = exchange(service, subject, "archive", audience=OTHER)
    assert (refused.status, refused.body["error"]) == (400, "invalid_target")
    both = exchange(service, subject, audience=[ELEMENT, OTHER]).body["access_token"]
    assert claims(both)["aud"] == [ELEMENT, OTHER]


def test_offline_access_keeps_going(service: Service, subject: str) -> None:
    """How the jobs of a member go on: the program comes back with its own refresh token."""
    answer = exchange(service, subject, scope="openid offline_access storage.read:/data", audience=ELEMENT)
    assert answer.body["scope"] == "openid offline_access storage.read:/data"
    again = service.token(
        {"grant_type": "refresh_token", "refresh_token": answer.body["refresh_token"]}, basic=service.basic("transfer")
    )
    assert again.status == 200 and "id_token" not in again.body
    body = claims(again.body["access_token"])
    assert (body["act"], body["scope"], body["aud"]) == ({"sub": "transfer"}, answer.body["scope"], ELEMENT)
    assert service.refresh(again.body["refresh_token"]).body["error"] == "invalid_grant"  # another client
    wider = {"grant_type": "refresh_token", "refresh_token": again.body["refresh_token"], "scope": "storage.modify:/shift"}
    assert service.token(wider, basic=service.basic("transfer")).body["error"] == "invalid_scope"


def test_offline_access_is_the_clients_to_have(service: Service, subject: str) -> None:
    answer = exchange(service, subject, "archive", scope="offline_access storage.read:/data")
    assert answer.body["scope"] == "storage.read:/data" and "refresh_token" not in answer.body
    assert exchange(service, subject, scope="offline_access").body["error"] == "invalid_scope"


def test_who_acts_is_nested(service: Service, subject: str) -> None:
    first = exchange(service, subject).body["access_token"]
    second = exchange(service, first, "archive", scope="storage.read:/data").body["access_token"]
    assert claims(second)["act"] == {"sub": "archive", "act": {"sub": "transfer"}}
    assert claims(exchange(service, first).body["access_token"])["act"] == {"sub": "transfer"}


def test_an_exchanged_token_ends_with_its_subject(service: Service, bettina: Browser) -> None:
    service.do("client", "ensure", "short", "--public", "--grant=device", "--access-lifetime=4")
    token = service.connect(bettina, "short", scope="openid storage.read:/")["access_token"]
    answer = exchange(service, token).body
    assert answer["expires_in"] <= 4 and claims(answer["access_token"])["exp"] <= claims(token)["exp"]
    time.sleep(max(0, claims(token)["exp"] - time.time()) + 0.1)
    refused = exchange(service, token)  # clocks may differ by 10 s elsewhere; here there is nothing left to give
    assert (refused.status, refused.body["error"]) == (400, "invalid_request")


def test_subject_tokens_that_are_not_good(service: Service, bettina: Browser, subject: str) -> None:
    def refuse(token: str, word: str) -> None:
        answer = exchange(service, token)
        assert (answer.status, answer.body["error"]) == (400, "invalid_request"), word
        assert word in answer.body["error_description"]

    head, body, signature = subject.split(".")
    refuse(f"{head}.{body}.{signature[:-6]}AAAAAA", "signature")
    refuse("x", "signature")
    connected = service.connect(bettina, scope="openid offline_access")
    refuse(connected["id_token"], "not an access token")
    refuse(connected["refresh_token"], "signature")
    form = {"grant_type": "client_credentials", "scope": "scim:read"}
    refuse(service.token(form, basic=service.basic("robot")).body["access_token"], "no member")
    service.request("/revoke", {"token": connected["access_token"], "client_id": "farmlet"})
    refuse(connected["access_token"], "revoked")
    broken = service.do("token", "--as=bettina", "--scope=storage.read:/", "--reason=test", "--by=carol").strip()
    refuse(broken, "break-glass token")


def test_a_suspended_members_token(service: Service) -> None:
    browser, _ = service.join("berthold", "lab")
    token = service.connect(browser, scope="openid storage.read:/")["access_token"]
    offline = exchange(service, token, scope="offline_access storage.read:/").body["refresh_token"]
    service.do("member", "suspend", "berthold")
    assert "not active" in exchange(service, token).body["error_description"]
    form = {"grant_type": "refresh_token", "refresh_token": offline}
    assert service.token(form, basic=service.basic("transfer")).body["error"] == "invalid_grant"


@pytest.mark.parametrize(
    "form",
    [
        {"actor_token": "x", "actor_token_type": ACCESS},
        {"want_composite": "true"},
        {"subject_token": ""},
        {"subject_token_type": ""},
        {"subject_token_type": "urn:ietf:params:oauth:token-type:saml2"},
        {"requested_token_type": "urn:ietf:params:oauth:token-type:refresh_token"},
        {"scope": ["openid", "storage.read:/"]},
        {"subject_token": ["one", "two"]},
    ],
)
def test_what_is_not_supported_is_said(service: Service, subject: str, form: Fields) -> None:
    answer = exchange(service, subject, **form)
    assert (answer.status, answer.body["error"]) == (400, "invalid_request") and answer.body["error_description"]


def test_only_confidential_clients_that_hold_the_grant(service: Service, subject: str) -> None:
    form = {"grant_type": GRANT, "subject_token": subject, "subject_token_type": ACCESS}
    assert service.token({**form, "client_id": "farmlet"}).body["error"] == "unauthorized_client"
    assert service.token(form, basic=service.basic("robot")).body["error"] == "unauthorized_client"
    assert service.token(form, basic="transfer:wrong").status == 401
    assert service.token({**form, "client_id": "transfer"}).status == 401
    refused = service.run("client", "ensure", "open", "--public", "--grant=exchange")
    assert refused.returncode == 2 and "public" in refused.stderr


@pytest.mark.parametrize("field", ["user", "device", "connection", "act", "left", "scopes", "granted_audience", "client", "jti"])
def test_form_fields_are_not_taken_for_our_own_notes(service: Service, subject: str, field: str) -> None:
    form = {"grant_type": GRANT, "subject_token": subject, "subject_token_type": ACCESS, "scope": "storage.read:/data"}
    answer = service.token({**form, field: "1"}, basic=service.basic("transfer"))
    assert answer.status == 200 and claims(answer.body["access_token"])["preferred_username"] == "bettina"
    assert answer.body["scope"] == "storage.read:/data" and answer.body["expires_in"] > 1
    form = {"grant_type": "refresh_token", "refresh_token": "x.y", "client_id": "farmlet", field: "1"}
    assert service.token(form).body["error"] == "invalid_grant"
