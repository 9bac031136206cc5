"""Revocation (RFC 7009) and introspection (RFC 7662)."""

from __future__ import annotations

import time
from typing import Any

import pytest
from browser import Browser
from issuer import Answer, Service, claims

pytestmark = pytest.mark.service
FULL = "openid offline_access storage.read:/data wlcg.groups"


@pytest.fixture(scope="module")
def ritva(service: Service) -> Browser:
    return service.join("ritva", "lab/production")[0]


@pytest.fixture(scope="module")
def tokens(service: Service, ritva: Browser) -> dict[str, Any]:
    return service.connect(ritva, scope=FULL)


@pytest.fixture(scope="module")
def checker(service: Service) -> str:
    """The credentials of a service that asks about tokens."""
    return f"checker:{service.register('checker', '--grant=device,refresh')}"


def revoke(service: Service, token: str, client: str = "farmlet", **form: str) -> Answer:
    return service.request("/revoke", {"token": token, "client_id": client, **form})


def introspect(service: Service, token: str, checker: str) -> dict[str, Any]:
    answer = service.request("/introspect", {"token": token}, basic=checker)
    assert answer.status == 200, answer
    return answer.body


def test_discovery_names_both(service: Service) -> None:
    body = service.request("/.well-known/openid-configuration").body
    assert body["revocation_endpoint"] == f"{service.issuer}/revoke/"
    assert body["introspection_endpoint"] == f"{service.issuer}/introspect/"
    assert "urn:ietf:params:oauth:grant-type:token-exchange" in body["grant_types_supported"]


def test_a_revoked_refresh_token_ends_its_connection(service: Service, ritva: Browser, checker: str) -> None:
    first = service.connect(ritva, scope=FULL)["refresh_token"]
    second = service.refresh(first).body["refresh_token"]
    assert introspect(service, first, checker) == {"active": False}
    assert revoke(service, second, token_type_hint="access_token").status == 200  # a hint is only a hint
    assert service.refresh(second).body["error"] == "invalid_grant"
    assert revoke(service, second).status == 200
    assert "connection.revoked" in service.do("member", "history", "ritva")


def test_a_revoked_access_token_opens_nothing_here(service: Service, ritva: Browser, checker: str) -> None:
    token = service.connect(ritva, scope=FULL)["access_token"]
    assert service.request("/userinfo", bearer=token).status == 200
    assert introspect(service, token, checker)["active"] is True
    for _ in range(2):
        assert revoke(service, token).status == 200
    assert service.request("/userinfo", bearer=token).status == 401
    assert introspect(service, token, checker) == {"active": False}
    assert service.do("member", "history", "ritva").count("token.revoked") == 1


def test_a_revoked_token_does_not_read_the_membership(service: Service) -> None:
    basic = service.basic("accounts")
    token = service.token({"grant_type": "client_credentials", "scope": "scim:read"}, basic=basic).body["access_token"]
    assert service.request("/scim/v2/Users", bearer=token).status == 200
    assert service.request("/revoke", {"token": token}, basic=basic).status == 200
    assert service.request("/scim/v2/Users", bearer=token).status == 401


def test_another_clients_token_is_not_revoked(service: Service, tokens: dict[str, Any]) -> None:
    for kind in ("refresh_token", "access_token"):
        answer = revoke(service, tokens[kind], "batch")
        assert (answer.status, answer.body["error"]) == (400, "invalid_grant")
    assert service.request("/userinfo", bearer=tokens["access_token"]).status == 200


@pytest.mark.parametrize(
    "token", ["unknown", "a.b", "a.b.c", "3f2504e0-4f89-41d3-9a0c-0305e82c3301.x", "\u00e4\u0000", "x" * 5000]
)
def test_an_unknown_token_is_as_good_as_revoked(service: Service, checker: str, token: str) -> None:
    assert revoke(service, token).status == 200
    assert introspect(service, token, checker) == {"active": False}


def test_who_may_not_ask(service: Service, tokens: dict[str, Any], checker: str) -> None:
    token = tokens["access_token"]
    assert service.request("/introspect", {"token": token, "client_id": "farmlet"}).status == 401  # a public client
    assert service.request("/introspect", {"token": token}).status == 401
    assert service.request("/introspect", {"token": token}, basic="checker:wrong").status == 401
    assert service.request("/introspect", {}, basic=checker).body["error"] == "invalid_request"
    assert service.request("/introspect", bearer=token).status == 405
    assert revoke(service, token, "nobody").status == 401
    assert service.request("/revoke", {"client_id": "farmlet"}).body["error"] == "invalid_request"


def test_what_is_told_of_an_access_token(service: Service, tokens: dict[str, Any], checker: str) -> None:
    found, own = introspect(service, tokens["access_token"], checker), claims(tokens["access_token"])
    assert found["active"] is True and found["username"] == "ritva" and found["token_type"] == "Bearer"
    assert {name: found[name] for name in own} == own  # iss, sub, aud, exp, jti, scope, client_id, wlcg.groups …


def test_what_is_told_of_a_refresh_token(service: Service, ritva: Browser, checker: str) -> None:
    form = {"scope": FULL, "audience": "https://se.example.org"}
    started = service.request("/device-authorization/", form, basic=checker).body
    service.allow(ritva, started)
    grant = {"grant_type": "urn:ietf:params:oauth:grant-type:device_code", "device_code": started["device_code"]}
    token = service.token(grant, basic=checker).body["refresh_token"]
    found = introspect(service, token, checker)
    assert found["active"] is True and found["scope"] == FULL and found["client_id"] == "checker"
    assert found["aud"] == "https://se.example.org" and found["exp"] > time.time() + 80000
    assert introspect(service, token[:-3] + "AAA", checker) == {"active": False}
    assert service.token({"grant_type": "refresh_token", "refresh_token": token}, basic=checker).status == 200


def test_another_clients_refresh_token_is_not_told(service: Service, tokens: dict[str, Any], checker: str) -> None:
    assert introspect(service, tokens["refresh_token"], checker) == {"active": False}


def test_an_expired_token_is_not_active(service: Service, ritva: Browser, checker: str) -> None:
    service.do("client", "ensure", "fleeting", "--public", "--grant=device", "--access-lifetime=3")
    token = service.connect(ritva, "fleeting", scope="openid")["access_token"]
    time.sleep(max(0, claims(token)["exp"] - time.time()) + 0.1)
    assert introspect(service, token, checker) == {"active": False}


def test_a_suspended_members_token_is_not_active(service: Service, checker: str) -> None:
    browser, _ = service.join("ruthild", "lab")
    token = service.connect(browser, scope=FULL)["access_token"]
    assert introspect(service, token, checker)["active"] is True
    service.do("member", "suspend", "ruthild")
    assert introspect(service, token, checker) == {"active": False}
    assert service.request("/userinfo", bearer=token).status == 401
    service.do("member", "resume", "ruthild")
    assert introspect(service, token, checker)["active"] is True
    assert revoke(service, token).status == 200
