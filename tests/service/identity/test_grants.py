"""Tokens: device flow, refresh, client credentials, against the real server."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from browser import Browser
from issuer import Service, claims, decode

from farmlet.runtime.oauth import DeviceFlow, OAuthError, obtain, refresh
from farmlet.runtime.tokens import Refused, Verifier

pytestmark = pytest.mark.service
ANY = "https://wlcg.cern.ch/jwt/v1/any"


@pytest.fixture(scope="module")
def alice(service: Service) -> Browser:
    browser, page = service.join("alice", "lab/production")
    assert page.status == 200 and "Alice" in page.text
    return browser


def test_discovery_names_what_clients_need(service: Service) -> None:
    for path in ("/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"):
        body = service.request(path).body
        assert body["issuer"] == service.issuer
        assert body["device_authorization_endpoint"].startswith(service.issuer)
        assert "refresh_token" in body["grant_types_supported"]
        assert "storage.read:/" in body["scopes_supported"]
    key = service.request("/jwks").body["keys"][0]
    assert key["alg"] == "ES256" and "d" not in key


def test_device_flow_by_the_client_library(service: Service, alice: Browser) -> None:
    flow = DeviceFlow(service.issuer, "farmlet", service.cafile)
    started = flow.start("openid offline_access wlcg.groups storage.read:/ storage.modify:/", "https://se.example.org")
    person = threading.Timer(1.5, lambda: service.allow(alice, {**vars(started)}))
    person.start()
    tokens = flow.wait(started)
    person.join()
    assert tokens.refresh_token and tokens.expires_in == 600
    verified = Verifier(service.issuer, "https://se.example.org", service.cafile).verify(tokens.access_token)
    assert verified.username == "alice" and verified.client_id == "farmlet"
    assert verified.scopes >= {"storage.read:/", "storage.modify:/data", "storage.modify:/users/alice"}
    assert verified.groups == ("/lab", "/lab/production")
    with pytest.raises(Refused, match="meant for"):
        Verifier(service.issuer, ANY, service.cafile).verify(tokens.access_token)
    again = refresh(service.issuer, "farmlet", tokens.refresh_token, service.cafile, scope="storage.read:/data")
    assert again.scope == "storage.read:/data"
    # the audience of the device authorization is kept
    assert claims(again.access_token)["aud"] == "https://se.example.org"


def test_access_token_follows_the_profile(service: Service, alice: Browser) -> None:
    answer = service.connect(alice, scope="openid profile storage.read:/")
    header, body = decode(answer["access_token"].split(".")[0]), claims(answer["access_token"])
    assert header["typ"] == "at+jwt" and header["alg"] == "ES256"
    assert header["kid"] in {key["kid"] for key in service.request("/jwks").body["keys"]}
    assert body["wlcg.ver"] == "1.0" and body["aud"] == ANY and body["iss"] == service.issuer
    assert body["exp"] - body["iat"] == 600 + 30 and body["nbf"] <= time.time()
    assert "wlcg.groups" not in body
    assert "refresh_token" not in answer  # offline_access was not asked for
    identity = claims(answer["id_token"])
    assert identity["aud"] == "farmlet" and identity["sub"] == body["sub"] and identity["name"] == "Alice"
    with pytest.raises(Refused, match="not an access token"):
        Verifier(service.issuer, "farmlet", service.cafile).verify(answer["id_token"])


def test_userinfo(service: Service, alice: Browser) -> None:
    token = service.connect(alice, scope="openid profile wlcg.groups")["access_token"]
    body = service.request("/userinfo", bearer=token).body
    assert body["preferred_username"] == "alice" and body["wlcg.groups"] == ["/lab", "/lab/production"]
    assert service.request("/userinfo").status == 401
    assert service.request("/userinfo", bearer=token[:-4] + "AAAA").status == 401


def test_public_client_may_send_an_empty_secret(service: Service, alice: Browser) -> None:
    """oidc-agent sends `Basic name:` everywhere, and at the token endpoint no client_id in the form."""
    form = {"client_id": "farmlet", "scope": "openid offline_access"}
    started = service.request("/device-authorization/", form, basic="farmlet:").body
    service.allow(alice, started)
    grant = {"grant_type": "urn:ietf:params:oauth:grant-type:device_code", "device_code": started["device_code"]}
    first = service.token(grant, basic="farmlet:")
    assert first.status == 200
    form = {"grant_type": "refresh_token", "refresh_token": first.body["refresh_token"]}
    assert service.token(form, basic="farmlet:wrong").status == 401
    assert service.token({**form, "client_id": "batch"}, basic="farmlet:").status == 401
    assert service.token(form, basic="farmlet:").status == 200


def test_device_code_works_once_and_for_its_client(service: Service, alice: Browser) -> None:
    started = service.begin()
    assert service.redeem(started).body["error"] == "authorization_pending"
    assert service.redeem(started).body["error"] == "slow_down"
    service.allow(alice, started)
    assert service.redeem(started, "batch").body["error"] == "invalid_grant"
    assert service.redeem({"device_code": "unknown"}).body["error"] == "invalid_grant"
    time.sleep(5)  # after slow_down the interval is 1 + 5 s, and four fifths of it will do
    assert service.redeem(started).status == 200
    replay = service.redeem(started)
    assert (replay.status, replay.body["error"]) == (400, "invalid_grant")


def test_denied_device(service: Service, alice: Browser) -> None:
    started = service.begin()
    assert "Denied" in service.allow(alice, started, "deny").text
    assert service.redeem(started).body["error"] == "access_denied"
    page = alice.open(started["verification_uri_complete"])  # decided once and for all
    assert page.status == 404 and "not known" in page.text


def test_parallel_redemptions_give_one_set_of_tokens(service: Service, alice: Browser) -> None:
    started = service.begin()
    service.allow(alice, started)
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: service.redeem(started).status, range(6)))
    assert answers.count(200) == 1, answers


def test_scopes_are_cut_to_the_rights(service: Service, alice: Browser) -> None:
    asked = "storage.read:/data storage.modify:/ storage.modify:/users/bob storage.read:/data/../etc scim:read"
    answer = service.connect(alice, scope=asked)
    assert answer["scope"].split() == ["storage.read:/data", "storage.modify:/data", "storage.modify:/users/alice"]
    refused = service.request("/device-authorization/", {"client_id": "farmlet", "scope": "scim:read storage.poll:/"})
    assert (refused.status, refused.body["error"]) == (400, "invalid_scope")


def test_consent_shows_what_will_be_given(service: Service, alice: Browser) -> None:
    page = alice.open(service.begin(scope="storage.modify:/users/bob")["verification_uri_complete"])
    assert "none of the rights" in page.text
    assert [value for _, value in page.forms[0].buttons] == ["deny"]
    page = alice.open(service.begin(scope="storage.modify:/users/bob storage.read:/x")["verification_uri_complete"])
    assert "storage.read:/x" in page.text and "Farmlet command" in page.text
    assert "will not get <code>storage.modify:/users/bob</code>" in page.text


def test_audience_of_a_client(service: Service, alice: Browser) -> None:
    form = {"client_id": "batch", "scope": "openid", "audience": "ssh"}
    assert service.request("/device-authorization/", form).body["error"] == "invalid_target"
    token = service.connect(alice, "batch", scope="openid offline_access")["refresh_token"]
    assert service.refresh(token, "batch", audience="ssh").body["error"] == "invalid_target"
    assert claims(service.refresh(token, "batch").body["access_token"])["aud"] == ANY
    token = service.connect(alice, scope="openid offline_access")["refresh_token"]
    assert service.refresh(token, audience="ssh").body["error"] == "invalid_target"  # it might have asked for it
    token = service.connect(alice, scope="openid offline_access", audience="ssh https://se.example.org")["refresh_token"]
    both = service.refresh(token, audience="ssh https://se.example.org").body["access_token"]
    assert claims(both)["aud"] == ["ssh", "https://se.example.org"]


def test_refresh_narrows_but_the_family_keeps_its_scope(service: Service, alice: Browser) -> None:
    answer = service.connect(alice, scope="openid offline_access storage.read:/data storage.modify:/data")
    whole = answer["scope"]
    answer = service.refresh(answer["refresh_token"], scope="storage.read:/data/run1").body
    assert answer["scope"] == "storage.read:/data/run1"
    answer = service.refresh(answer["refresh_token"], scope="storage.read:/ storage.modify:/users/alice").body
    assert answer["scope"] == "storage.read:/data"  # no wider than what was allowed, though alice may have more
    refused = service.refresh(answer["refresh_token"], scope="storage.modify:/users/alice")
    assert (refused.status, refused.body["error"]) == (400, "invalid_scope")
    assert service.refresh(answer["refresh_token"]).body["scope"] == whole


def test_reused_refresh_token_ends_the_family(service: Service, alice: Browser) -> None:
    first = service.connect(alice)["refresh_token"]
    second = service.refresh(first).body["refresh_token"]
    third = service.refresh(second).body["refresh_token"]
    assert service.refresh(first).body["error"] == "invalid_grant"  # not the direct predecessor: a replay
    assert service.refresh(third).body["error"] == "invalid_grant"
    assert service.refresh(first, "batch").status == 400
    assert "refresh.reused" in (service.folder / "db" / "audit.log").read_text()


def test_repeated_refresh_is_forgiven_until_a_successor_is_used(service: Service, alice: Browser) -> None:
    """A client that lost an answer, or asks in parallel, does not log itself out."""
    first = service.connect(alice)["refresh_token"]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: service.refresh(first), range(4)))
    assert [answer.status for answer in answers] == [200] * 4
    kept, lost = answers[2].body["refresh_token"], answers[0].body["refresh_token"]
    fresh = service.refresh(kept)
    assert fresh.status == 200
    assert service.refresh(lost).status == 400  # a sibling of a used token: somebody else has it
    assert service.refresh(fresh.body["refresh_token"]).status == 400


def test_refresh_token_of_another_client_is_refused_and_unharmed(service: Service, alice: Browser) -> None:
    token = service.connect(alice)["refresh_token"]
    assert service.refresh(token, "batch").body["error"] == "invalid_grant"
    assert service.refresh(token).status == 200


def test_only_the_facilitys_own_checks_have_storage_without_a_member(service: Service) -> None:
    scopes = "--scope=storage.read:/.farmlet storage.modify:/.farmlet storage.create:/.farmlet storage.read:/data openid"
    basic = f"prober:{service.register('prober', '--grant=client_credentials', scopes)}"
    answer = service.token({"grant_type": "client_credentials", "scope": "storage.read:/ storage.modify:/"}, basic)
    assert answer.body["scope"].split() == ["storage.read:/.farmlet", "storage.modify:/.farmlet"]
    for scope in (
        "storage.read:/data",
        "storage.create:/.farmlet",
        "storage.modify:/.farmlet/../data",
        "storage.read:/.farmlets",
    ):
        assert service.token({"grant_type": "client_credentials", "scope": scope}, basic).body["error"] == "invalid_scope", scope


def test_client_credentials(service: Service) -> None:
    tokens = obtain(service.issuer, "accounts", service.secret("accounts"), "scim:read", service.cafile)
    body = claims(tokens.access_token)
    assert tokens.scope == "scim:read" and body["sub"] == "accounts" and "preferred_username" not in body
    with pytest.raises(OAuthError, match="invalid_client"):
        obtain(service.issuer, "accounts", "wrong", "scim:read", service.cafile)
    with pytest.raises(OAuthError, match="invalid_scope"):
        obtain(service.issuer, "accounts", service.secret("accounts"), "storage.read:/", service.cafile)
    form = {"grant_type": "client_credentials", "client_id": "farmlet", "scope": "openid"}
    assert service.token(form).body["error"] == "unauthorized_client"
    assert service.token({"grant_type": "client_credentials", "client_id": "accounts"}).status == 401


@pytest.mark.parametrize("form", [{}, {"grant_type": "password"}, {"grant_type": "refresh_token", "client_id": "farmlet"}])
def test_malformed_requests_are_refused_in_the_protocol(service: Service, form: dict[str, Any]) -> None:
    answer = service.token(form)
    assert answer.status == 400 and answer.body["error"] in ("unsupported_grant_type", "invalid_request")


def test_break_glass(service: Service, alice: Browser) -> None:
    command = ("token", "--as=alice", "--scope=storage.read:/ storage.modify:/users/bob", "--audience=https://se.example.org")
    token = service.do(*command, "--reason=lost upload", "--by=carol").strip()
    verified = Verifier(service.issuer, "https://se.example.org", service.cafile).verify(token)
    assert verified.actor == "carol" and verified.scopes == {"storage.read:/"}
    lines = [json.loads(line) for line in (service.folder / "db" / "audit.log").read_text().splitlines()]
    assert any(line["event"] == "token.minted" and line["reason"] == "lost upload" for line in lines)
    assert token not in str(lines)
    refused = service.run("token", "--as=alice", "--scope=storage.modify:/users/bob", "--reason=x", "--by=carol")
    assert refused.returncode == 2 and "hint:" in refused.stderr
