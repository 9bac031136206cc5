"""The stand-in for an INDIGO IAM is as a real one was observed to be (tests/indigo; § as there)."""

from __future__ import annotations

import base64
import http.cookiejar
import json
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from farmlet.runtime.oauth import DeviceFlow
from indigo import BATCH, CLIENT, EXTENSION, MEMBERS, SECRET, Client, Iam
from indigo.client import DEVICE

pytestmark = pytest.mark.service
SCOPES = "openid offline_access wlcg.groups"


@pytest.fixture
def iam() -> Iterator[Iam]:
    running = Iam()
    running.add("ada", "collaboration/lab")
    running.clients.add(Client("rotating", SCOPES.split(), (DEVICE, "refresh_token")))
    yield running
    running.close()


@dataclass
class Answer:
    status: int
    body: dict[str, Any]
    headers: Any

    @property
    def error(self) -> tuple[int, str]:
        return self.status, self.body.get("error", "")


class Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


def ask(iam: Iam, path: str, form: dict[str, str] | None = None, jar: Any = None, **headers: str) -> Answer:
    data = urllib.parse.urlencode(form).encode() if form is not None else None
    request = urllib.request.Request(f"{iam.base}{path}", data, headers)
    opener = urllib.request.build_opener(Stay, *([urllib.request.HTTPCookieProcessor(jar)] if jar is not None else []))
    try:
        with opener.open(request, timeout=10) as answer:
            status, body, found = answer.status, answer.read(), answer.headers
    except urllib.error.HTTPError as error:
        status, body, found = error.code, error.read(), error.headers
    return Answer(status, json.loads(body) if body[:1] == b"{" else {"text": body.decode()}, found)


def basic(name: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()


def start(iam: Iam, client: str = BATCH, scope: str = SCOPES, **more: str) -> dict[str, Any]:
    return ask(iam, "devicecode", {"client_id": client, "scope": scope, **more}).body


def poll(iam: Iam, code: str, client: str = BATCH, **more: str) -> Answer:
    return ask(iam, "token", {"grant_type": DEVICE, "device_code": code, "client_id": client, **more})


def obtain(iam: Iam, client: str = BATCH, scope: str = SCOPES, **more: str) -> dict[str, Any]:
    started = start(iam, client, scope)
    iam.grants.allow(started["user_code"], "ada")
    return poll(iam, started["device_code"], client, **more).body


def refresh(iam: Iam, token: str, client: str = BATCH, **more: str) -> Answer:
    return ask(iam, "token", {"grant_type": "refresh_token", "refresh_token": token, "client_id": client, **more})


def read(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    header, claims = (json.loads(base64.urlsafe_b64decode(part + "==")) for part in token.split(".")[:2])
    return header, claims


def reader(iam: Iam) -> str:
    form = {"grant_type": "client_credentials", "scope": "scim:read"}
    return "Bearer " + ask(iam, "token", form, Authorization=basic(CLIENT, SECRET)).body["access_token"]


def test_discovery_has_the_slash_and_tokens_the_issuer_as_configured(iam: Iam) -> None:
    found = ask(iam, ".well-known/openid-configuration")
    assert found.headers["Content-Type"] == "application/json;charset=UTF-8"
    assert found.body["issuer"] == iam.base and iam.base.endswith("/")
    assert found.body["revocation_endpoint"] == f"{iam.base}revoke"
    assert not [one for one in found.body["scopes_supported"] if "wlcg" in one or "scim" in one]
    assert ask(iam, ".well-known/oauth-authorization-server").status == 404
    keys = ask(iam, "jwk")
    assert [one["kid"] for one in keys.body["keys"]] == ["rsa1"] and "max-age=21600" in keys.headers["Cache-Control"]
    answer = obtain(iam)
    assert read(answer["access_token"])[1]["iss"] == iam.base
    iam.slash = False
    answer = obtain(iam)
    assert read(answer["access_token"])[1]["iss"] == iam.base.rstrip("/")
    assert read(answer["id_token"])[1]["iss"] == iam.base == ask(iam, ".well-known/openid-configuration").body["issuer"]


def test_tokens_of_each_profile(iam: Iam) -> None:
    header, claims = read(obtain(iam, scope=f"{SCOPES} profile")["access_token"])
    assert header == {"kid": "rsa1", "alg": "RS256"}
    assert claims["nbf"] == claims["iat"] and claims["wlcg.ver"] == "1.0" and claims["sub"] == iam.find("ada")["id"]
    assert claims["aud"] == "https://wlcg.cern.ch/jwt/v1/any" and claims["client_id"] == BATCH
    assert claims["wlcg.groups"] == ["/collaboration", "/collaboration/lab"]  # with parents, sorted
    assert "preferred_username" not in claims
    assert "wlcg.groups" not in read(obtain(iam, scope="openid wlcg")["access_token"])[1]
    iam.leave("ada", "collaboration")
    assert "wlcg.groups" not in read(obtain(iam)["access_token"])[1]  # absent, not empty
    iam.clients.add(Client("plain", ("openid", "iam"), (DEVICE,)))
    claims = read(obtain(iam, "plain", "openid")["access_token"])[1]  # by what is registered, not by what is asked for
    assert {"aud", "scope", "nbf", "wlcg.ver"}.isdisjoint(claims)
    iam.profile = "kc"
    iam.clients.add(Client("two", ("openid", "iam", "wlcg"), (DEVICE,)))
    claims = read(obtain(iam, "two", "openid")["access_token"])[1]
    assert "nbf" in claims and "wlcg.ver" not in claims


def test_audiences_go_with_poll_and_refresh_only(iam: Iam) -> None:
    started = start(iam, audience="ssh")
    iam.grants.allow(started["user_code"], "ada")
    answer = poll(iam, started["device_code"]).body
    assert read(answer["access_token"])[1]["aud"] == "https://wlcg.cern.ch/jwt/v1/any"
    answer = obtain(iam, audience="ssh other")  # free, for any client
    assert read(answer["access_token"])[1]["aud"] == ["ssh", "other"]
    again = refresh(iam, answer["refresh_token"], audience="third")
    assert read(again.body["access_token"])[1]["aud"] == "third"
    again = refresh(iam, answer["refresh_token"])  # for that token only
    assert read(again.body["access_token"])[1]["aud"] == "https://wlcg.cern.ch/jwt/v1/any"


def test_resources(iam: Iam) -> None:
    started = start(iam, resource="https://a.example https://b.example")
    iam.grants.allow(started["user_code"], "ada")
    assert poll(iam, started["device_code"], audience="ssh").error == (400, "invalid_target")
    answer = poll(iam, started["device_code"], resource="https://a.example").body  # narrower
    assert read(answer["access_token"])[1]["aud"] == "https://a.example"
    assert refresh(iam, answer["refresh_token"], resource="https://c.example").error == (400, "invalid_target")
    wrong = start(iam, resource="no-uri")  # accepted; nobody can allow it
    iam.grants.allow(wrong["user_code"], "ada")
    assert poll(iam, wrong["device_code"]).error == (400, "authorization_pending")
    good = start(iam)
    iam.grants.allow(good["user_code"], "ada")
    assert poll(iam, good["device_code"], resource="https://a.example?x=1").error == (400, "invalid_target")


def test_device_requests(iam: Iam) -> None:
    started = start(iam)
    assert "interval" not in started and len(started["user_code"]) == 6 and started["expires_in"] == 600
    assert (found := ask(iam, "devicecode", {"client_id": "nobody"})).status == 404 and found.body == {"text": ""}
    assert (found := ask(iam, "devicecode", {"scope": "openid"})).status == 400 and found.body == {"text": ""}
    assert ask(iam, "devicecode", {"client_id": BATCH, "scope": "openid compute.read"}).error == (400, "invalid_scope")
    assert ask(iam, "devicecode", {"client_id": CLIENT, "scope": "scim:read"}).error == (401, "invalid_client")
    iam.clients.known[BATCH].disabled = True
    code = start(iam)["device_code"]  # all the same
    assert poll(iam, code).error == (401, "invalid_client")


def test_polls(iam: Iam) -> None:
    started = start(iam)
    code = started["device_code"]
    assert poll(iam, code).error == (400, "authorization_pending") and code in poll(iam, code).body["error_description"]
    assert poll(iam, code, MEMBERS).error == (400, "invalid_grant")
    assert poll(iam, "none").error == (400, "invalid_grant")
    assert poll(iam, code, "nobody").error == (401, "invalid_client")
    iam.grants.allow(started["user_code"].lower(), "ada")
    assert poll(iam, code).status == 200
    assert poll(iam, code).error == (400, "invalid_grant")
    iam.clients.known[BATCH].device_seconds = 0
    code = start(iam)["device_code"]
    assert [poll(iam, code).body["error"] for _ in range(2)] == ["expired_token", "invalid_grant"]
    assert "refresh_token" not in obtain(iam, scope="openid")


def test_consent_without_a_browser(iam: Iam) -> None:
    jar = http.cookiejar.CookieJar()
    code = start(iam)
    assert ask(iam, "device", jar=jar).headers["Location"] == f"{iam.base}login"
    assert ask(iam, "login", {"username": "ada", "password": "x"}, jar).headers["Location"].endswith("error=failure")
    assert ask(iam, "login", {"username": "ada", "password": "password"}, jar).headers["Location"].endswith("/dashboard")
    form = {"user_code": code["user_code"], "user_oauth_approval": "true"}
    assert ask(iam, "device/approve", form, jar).status == 400  # the step before is needed
    ask(iam, "device/verify", {"user_code": code["user_code"]}, jar)
    assert "not been approved" in ask(iam, "device/approve", form | {"user_oauth_approval": "false"}, jar).body["text"]
    assert poll(iam, code["device_code"]).error == (400, "authorization_pending")  # denied: stays so
    assert "has been approved" in ask(iam, "device/approve", form, jar).body["text"]
    assert poll(iam, code["device_code"]).status == 200
    again = start(iam)  # until revoked: not asked again, whoever sent the link
    assert "approved" in ask(iam, f"device?user_code={again['user_code']}", jar=jar).body["text"]
    assert poll(iam, again["device_code"]).status == 200
    iam.publish()
    assert ask(iam, "device", jar=jar).headers["Location"] == f"{iam.base}iam/aup/sign"
    ask(iam, "iam/aup/sign", {}, jar)
    assert ask(iam, "device", jar=jar).status == 200


def test_refresh_without_rotation(iam: Iam) -> None:
    answer = obtain(iam)
    token = answer["refresh_token"]
    assert token.endswith(".") and read(token)[0] == {"alg": "none"} and "exp" in read(token)[1]
    assert refresh(iam, token).body["refresh_token"] == token
    assert ask(iam, "userinfo", Authorization=f"Bearer {answer['access_token']}").status == 200
    small = refresh(iam, token, scope="openid").body
    assert small["scope"] == "openid" and "id_token" in small
    assert "id_token" in refresh(iam, token, scope="wlcg.groups").body
    assert refresh(iam, token, scope="openid profile").body["error_description"] == "Up-scoping is not allowed."
    assert refresh(iam, token, scope="compute.read").error == (400, "invalid_scope")
    assert refresh(iam, token, MEMBERS).error == (401, "invalid_client") and refresh(iam, token).status == 200
    assert ask(iam, "token", {"grant_type": "refresh_token", "client_id": BATCH}).error == (500, "server_error")
    gone = refresh(iam, "no-such-token")
    assert gone.error == (401, "invalid_token") and "no-such-token" in gone.body["error_description"]


def test_rotation_has_no_grace(iam: Iam) -> None:
    answer = obtain(iam, "rotating")
    old = answer["refresh_token"]
    fresh = refresh(iam, old, "rotating").body
    assert fresh["refresh_token"] != old
    assert refresh(iam, old, "rotating").error == (401, "invalid_token")
    assert ask(iam, "userinfo", Authorization=f"Bearer {answer['access_token']}").error == (401, "invalid_token")
    iam.lose = 1
    with pytest.raises(OSError):
        refresh(iam, fresh["refresh_token"], "rotating")
    assert refresh(iam, fresh["refresh_token"], "rotating").error == (401, "invalid_token")


def test_what_hinders_a_refresh_and_what_ends_it(iam: Iam) -> None:
    answer = obtain(iam)
    token, user = answer["refresh_token"], iam.find("ada")
    user["active"] = False
    stopped = refresh(iam, token)
    assert stopped.error == (401, "unauthorized") and stopped.body["error_description"] == "User ada is not active."
    assert ask(iam, "userinfo", Authorization=f"Bearer {answer['access_token']}").status == 200  # to its end
    user["active"] = True
    assert refresh(iam, token).status == 200
    iam.publish()
    unsigned = refresh(iam, token)
    assert unsigned.error == (400, "invalid_grant")
    assert unsigned.body["error_description"] == "User ada needs to sign AUP for this organization in order to proceed."
    iam.sign("ada")
    assert refresh(iam, token).status == 200
    iam.expire("ada", datetime.now(UTC) - timedelta(days=1))
    assert refresh(iam, token).status == 200  # for seven days more, with groups
    iam.remove("ada")
    assert refresh(iam, token).error == (401, "invalid_token")
    assert ask(iam, "userinfo", Authorization=f"Bearer {answer['access_token']}").error == (401, "invalid_token")


def test_revocation(iam: Iam) -> None:
    token = obtain(iam)["refresh_token"]
    assert ask(iam, "revoke", {"token": token}).error == (401, "unauthorized")
    assert ask(iam, "revoke", {"token": token}, Authorization=basic(MEMBERS, "")).status == 403
    led = ask(iam, "revoke", {"token": token, "client_id": BATCH})
    assert (led.status, led.headers["Location"]) == (302, iam.base)
    assert refresh(iam, token).error == (401, "invalid_token")
    assert ask(iam, "revoke", {"token": "unknown"}, Authorization=basic(BATCH, "")).status == 200


def test_introspection(iam: Iam) -> None:
    answer = obtain(iam, audience="a b")
    said = ask(iam, "introspect", {"token": answer["access_token"]}, Authorization=basic(MEMBERS, "")).body
    assert said["active"] and said["user_id"] == "ada" and said["aud"] == "a b" and "/collaboration/lab" in said["wlcg.groups"]
    assert ask(iam, "introspect", {"token": "x"}, Authorization=basic(MEMBERS, "")).body == {"active": False}
    assert ask(iam, "introspect", {"token": "x", "client_id": MEMBERS}).error == (401, "unauthorized")
    own = reader(iam).removeprefix("Bearer ")
    assert ask(iam, "introspect", {"token": own}, Authorization=basic(MEMBERS, "")).status == 405
    assert ask(iam, "userinfo", Authorization=f"Bearer {own}").status == 403


def test_users_by_scim(iam: Iam) -> None:
    bearer = reader(iam)
    for number in range(149):
        iam.add(f"user{number}")
    assert ask(iam, "scim/Users").error == (401, "unauthorized")
    assert ask(iam, "scim/Users", Authorization="Bearer x").error == (401, "invalid_token")
    assert ask(iam, "scim/Users", Authorization=f"Bearer {obtain(iam)['access_token']}").error == (403, "access_denied")
    assert ask(iam, "scim/Users", Authorization=bearer, Accept="application/json").status == 406
    page = ask(iam, "scim/Users?count=500&filter=userName+eq+%22ada%22", Authorization=bearer)
    assert page.headers["Content-Type"] == "application/scim+json;charset=UTF-8"
    assert (page.body["totalResults"], page.body["itemsPerPage"]) == (150, 100)
    assert page.body["Resources"][0]["userName"] == "ada"
    assert len(ask(iam, "scim/Users?startIndex=101", Authorization=bearer).body["Resources"]) == 50
    iam.remove("user0")  # shifts the rest
    assert ask(iam, "scim/Users?startIndex=101", Authorization=bearer).body["Resources"][0]["userName"] == "user100"
    empty = ask(iam, "scim/Users?count=0", Authorization=bearer).body
    assert empty["Resources"] == [] and "itemsPerPage" not in empty
    assert ask(iam, "scim/Users?count=abc", Authorization=bearer).status == 400
    ada, other = iam.find("ada"), iam.find("user1")
    one = ask(iam, f"scim/Users/{ada['id']}", Authorization=bearer).body
    assert [group["display"] for group in one["groups"]] == ["collaboration/lab", "collaboration"]
    assert one[EXTENSION] == {"serviceAccount": False} and one["displayName"] == "ada" and "groups" not in other
    gone = ask(iam, "scim/Users/nobody", Authorization=bearer)
    assert (gone.status, gone.body["status"]) == (404, "404") and "No user mapped" in gone.body["detail"]


def test_groups_by_scim(iam: Iam) -> None:
    bearer = reader(iam)
    groups = ask(iam, "scim/Groups", Authorization=bearer).body["Resources"]
    assert [group["displayName"] for group in groups] == ["collaboration", "collaboration/lab"]
    extension = groups[1]["urn:indigo-dc:scim:schemas:IndigoGroup"]
    assert extension["parentGroup"]["display"] == "collaboration" and extension["labels"] is None
    assert ask(iam, "scim/Groups/none", Authorization=bearer).status == 404
    iam.leave("ada", "collaboration")  # removes from all children
    assert "groups" not in iam.find("ada")


def manage(iam: Iam, path: str, body: dict[str, Any], jar: Any = None, method: str = "POST") -> Answer:
    request = urllib.request.Request(f"{iam.base}iam/api/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"})
    request.method = method
    opener = urllib.request.build_opener(*([urllib.request.HTTPCookieProcessor(jar)] if jar is not None else []))
    try:
        with opener.open(request, timeout=10) as answer:
            return Answer(answer.status, json.loads(answer.read() or b"{}"), answer.headers)
    except urllib.error.HTTPError as error:
        return Answer(error.code, json.loads(error.read() or b"{}"), error.headers)


def test_clients_of_administrators(iam: Iam) -> None:
    jar = http.cookiejar.CookieJar()
    chosen = {"client_id": "jobs", "client_name": "Jobs", "client_secret": "a+b/c %", "scope": "offline_access wlcg x.y"}
    assert manage(iam, "clients", chosen).error == (401, "unauthorized")
    ask(iam, "login", {"username": "admin", "password": "password"}, jar)
    made = manage(iam, "clients", chosen | {"allow_introspection": False}, jar)
    assert made.status == 201 and made.body["scope"] == "offline_access wlcg x.y"
    assert made.body["grant_types"] == ["authorization_code", "refresh_token"]
    assert made.body["reuse_refresh_token"] is False and made.body["allow_introspection"] is True
    assert manage(iam, "clients", chosen, jar).body["error"] == "Client id not available"
    assert manage(iam, "clients", {"client_name": "abc"}, jar).status == 400
    form = {"grant_type": "client_credentials"}
    encoded = basic("jobs", urllib.parse.quote_plus("a+b/c %"))
    assert ask(iam, "token", form, Authorization=encoded).body["error_description"] == "Bad credentials"
    assert ask(iam, "token", form, Authorization=basic("jobs", "a+b/c %")).error == (401, "invalid_client")  # not that grant
    assert ask(iam, "token", form | {"client_id": "jobs", "client_secret": "a+b/c %"}).error == (401, "invalid_client")
    assert manage(iam, "clients/jobs/disable", {}, jar, "PATCH").status == 200
    assert ask(iam, "token", form, Authorization=basic("jobs", "a+b/c %")).error == (401, "invalid_client")


def test_clients_of_anybody(iam: Iam) -> None:
    wish = {"client_name": "oidc-agent", "grant_types": [DEVICE, "refresh_token"], "token_endpoint_auth_method": "none"}
    made = manage(iam, "client-registration", wish | {"scope": "openid offline_access scim:read odd"}).body
    assert made["scope"] == "openid offline_access odd" and made["reuse_refresh_token"] is True
    assert made["registration_access_token"] and "client_secret" not in made
    answer = obtain(iam, made["client_id"], "openid", audience="ssh")  # any audience, without consent
    assert read(answer["access_token"])[1]["aud"] == "ssh"
    assert manage(iam, "client-registration", wish | {"client_id": "mine"}).status == 400
    for grant in ("password", "client_credentials"):
        refused = manage(iam, "client-registration", wish | {"grant_types": [grant]})
        assert refused.error == (400, f"Grant type not allowed: {grant}")


def test_scopes(iam: Iam) -> None:
    assert obtain(iam, scope="storage.read:/data openid")["scope"] == "storage.read:/data openid"  # below what is registered
    token = obtain(iam, scope="storage.read:/data offline_access")["refresh_token"]
    assert refresh(iam, token, scope="storage.read:/data/x").error == (400, "invalid_scope")
    assert ask(iam, "devicecode", {"client_id": BATCH, "scope": "wlcg.groups:/collaboration/"}).error == (400, "invalid_scope")
    iam.denied.add("storage.modify:/")
    assert obtain(iam, scope="storage.modify:/ openid")["scope"] == "openid"  # silently
    iam.paths = False  # without its profile for such scopes only literally the same
    assert obtain(iam, scope="storage.read:/ openid")["scope"] == "storage.read:/ openid"
    for scope in ("storage.read:/data", "wlcg.groups:/collaboration/lab"):
        assert ask(iam, "devicecode", {"client_id": BATCH, "scope": scope}).error == (400, "invalid_scope")
    flow = DeviceFlow(iam.issuer, BATCH)  # ours then asks for the groups without names
    assert iam.grants.devices[flow.start("openid wlcg.groups wlcg.groups:/collaboration/lab").device_code].scopes == (
        "openid",
        "wlcg.groups",
    )


def test_errors_of_the_token_endpoint(iam: Iam) -> None:
    form = {"grant_type": "client_credentials", "scope": "scim:read"}
    bad = ask(iam, "token", form, Authorization=basic(CLIENT, "x"))
    assert (bad.status, bad.body) == (401, {"error": "unauthorized", "error_description": "Bad credentials"})
    assert ask(iam, "token", form | {"client_id": CLIENT, "client_secret": "x"}).body == {
        "error": "invalid_client",
        "error_description": "Bad client credentials",
    }
    assert ask(iam, "token", form).error == (401, "unauthorized")
    mine = {"Authorization": basic(CLIENT, SECRET)}
    lacking = ask(iam, "token", form | {"scope": "openid"}, **mine)
    assert lacking.body["error_description"] == f"Scope 'openid' not allowed for client '{CLIENT}'"
    assert ask(iam, "token", {"grant_type": "odd"}, **mine).error == (400, "unsupported_grant_type")
    assert ask(iam, "token", {}, **mine).error == (500, "server_error")
    assert ask(iam, "token", {"grant_type": "refresh_token", "refresh_token": "x"}, **mine).error == (401, "invalid_client")
    assert ask(iam, "token", form | {"client_id": CLIENT, "client_secret": SECRET}).status == 200


def test_those_who_refresh_at_the_same_moment_all_get_something(iam: Iam) -> None:
    token = obtain(iam, "rotating")["refresh_token"]
    iam.grants.moment = threading.Barrier(8, timeout=10).wait
    statuses: list[int] = []
    asking = [threading.Thread(target=lambda: statuses.append(refresh(iam, token, "rotating").status)) for _ in range(8)]
    for one in asking:
        one.start()
    for one in asking:
        one.join()
    assert statuses == [200] * 8


def test_our_device_flow_gets_the_audience_it_asks_for(iam: Iam) -> None:
    iam.person = "ada"
    flow = DeviceFlow(iam.issuer, MEMBERS)
    started = flow.start("openid", "ssh other")
    assert started.interval == 5  # RFC 8628 §3.2, where the issuer names none
    assert read(flow.wait(started, lambda seconds: None).access_token)[1]["aud"] == ["ssh", "other"]
