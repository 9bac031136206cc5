"""Programs that register themselves: what oidc-agent sends, what they may have, how they change and end it, the limits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from browser import Browser
from issuer import Answer, Service, claims, decode, serve, write_config
from party import BACK, Party

from waiting import find_port

pytestmark = pytest.mark.service
DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
# as oidc-agent 4.2.6 sends it
AGENT: dict[str, Any] = {
    "application_type": "web",
    "client_name": "oidc-agent:af-host",
    "response_types": [],
    "grant_types": ["refresh_token", DEVICE],
    "scope": "openid profile offline_access wlcg wlcg.groups storage.read:/",
    "redirect_uris": [
        "http://localhost:4242", "http://localhost:24126", "http://localhost:8080", "edu.kit.data.oidc-agent:/redirect",
    ],
}  # fmt: skip


class Registrar:
    """Speaks JSON with the registration endpoint, as from an address of its own where the reverse proxy would say so."""

    def __init__(self, service: Service) -> None:
        self.service = service

    def send(
        self, body: Any, path: str = "/register/", method: str = "POST", bearer: str = "", kind: str = "application/json"
    ) -> Answer:
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        known = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        answer = self.service.send(path, data, method, Content_Type=kind, **known)
        self.headers = answer.headers
        return answer

    def register(self, **changes: Any) -> dict[str, Any]:
        answer = self.send(AGENT | changes)
        assert answer.status == 201, answer
        return answer.body


@pytest.fixture
def registrar(service: Service) -> Iterator[Registrar]:
    """Nobody has registered anything this hour."""
    forget(service)
    yield Registrar(service)
    forget(service)


def forget(service: Service) -> None:
    execute(service, "delete from identity_attempt where account = 'registration'")


def execute(service: Service, sql: str) -> list[Any]:
    return service.execute(sql)


@pytest.fixture(scope="module")
def rita(service: Service) -> Browser:
    return service.join("rita", "lab/production")[0]


def test_discovery_names_it(service: Service) -> None:
    assert service.request("/.well-known/openid-configuration").body["registration_endpoint"] == f"{service.issuer}/register/"


def test_what_oidc_agent_sends_and_then_does(service: Service, registrar: Registrar, rita: Browser) -> None:
    found = registrar.register()
    assert set(found["scope"].split()) == set(AGENT["scope"].split()), "it gives up if one is missing"
    assert found["redirect_uris"] == AGENT["redirect_uris"] and sorted(found["grant_types"]) == sorted(AGENT["grant_types"])
    assert found["response_types"] == [] and found["client_secret_expires_at"] == 0
    assert found["registration_client_uri"] == f"{service.issuer}/register/{found['client_id']}"
    assert registrar.headers["Cache-Control"] == "no-store"
    basic = f"{found['client_id']}:{found['client_secret']}"
    started = service.request("/device-authorization/", {"scope": AGENT["scope"]}, basic=basic).body
    page = rita.open(started["verification_uri_complete"])
    assert "oidc-agent:af-host" in page.text and "registered itself" in page.text
    rita.submit(page, "allow")
    answer = service.token({"grant_type": DEVICE, "device_code": started["device_code"]}, basic=basic)
    assert answer.status == 200, answer
    form = {"grant_type": "refresh_token", "refresh_token": answer.body["refresh_token"], "scope": "storage.read:/data"}
    narrow = service.token({**form, "audience": "https://se.example.org"}, basic=basic)
    assert claims(narrow.body["access_token"])["aud"] == "https://se.example.org"
    assert narrow.body["scope"] == "storage.read:/data"
    secrets = (found["client_secret"], found["registration_access_token"])
    stored = b"".join(path.read_bytes() for path in (service.folder / "db").iterdir())
    assert not any(secret.encode() in stored for secret in secrets)


def test_a_web_application_registers_and_logs_people_in(service: Service, registrar: Registrar, rita: Browser) -> None:
    grants = {"grant_types": ["authorization_code", "refresh_token"], "redirect_uris": [BACK]}
    found = registrar.register(**grants, id_token_signed_response_alg="ES256", post_logout_redirect_uris=["https://a.org/out"])
    assert found["response_types"] == ["code"] and found["id_token_signed_response_alg"] == "ES256"
    assert found["post_logout_redirect_uris"] == ["https://a.org/out"]
    party = Party(service, found["client_id"], found["client_secret"])
    answer = party.redeem(party.ask(rita)["code"])
    assert answer.status == 200 and decode(answer.body["id_token"].split(".")[0])["alg"] == "ES256"
    refused = registrar.send(AGENT | {"grant_types": ["authorization_code"], "redirect_uris": []})
    assert refused.body["error"] == "invalid_redirect_uri"


def test_public_ones_have_no_secret(service: Service, registrar: Registrar) -> None:
    found = registrar.register(token_endpoint_auth_method="none", redirect_uris=[])
    assert "client_secret" not in found and found["token_endpoint_auth_method"] == "none"
    assert service.request("/device-authorization/", {"client_id": found["client_id"], "scope": "openid"}).status == 200


def test_our_own_consent_page_says_nothing_of_the_kind(service: Service, rita: Browser) -> None:
    page = rita.open(service.begin()["verification_uri_complete"])
    assert "registered itself" not in page.text


@pytest.mark.parametrize("grant", ["client_credentials", "urn:ietf:params:oauth:grant-type:token-exchange", "password"])
def test_they_act_for_people_only(service: Service, registrar: Registrar, grant: str) -> None:
    found = registrar.register(grant_types=[DEVICE, grant])
    assert found["grant_types"] == [DEVICE]
    basic = f"{found['client_id']}:{found['client_secret']}"
    answer = service.token({"grant_type": grant, "scope": "openid"}, basic=basic)
    assert answer.status in (400, 401) and "access_token" not in answer.body
    refused = registrar.send(AGENT | {"grant_types": [grant]})
    assert refused.status == 400 and refused.body["error"] == "invalid_client_metadata"


def test_scopes_are_those_of_people(registrar: Registrar) -> None:
    assert registrar.register(scope="openid scim:read scim:write registration:write")["scope"] == "openid"
    refused = registrar.send(AGENT | {"scope": "scim:read"})
    assert refused.status == 400 and refused.body["error"] == "invalid_client_metadata"
    everything = {name: value for name, value in AGENT.items() if name != "scope"}
    assert {"openid", "storage.read:/"} <= set(registrar.send(everything).body["scope"].split())


@pytest.mark.parametrize("uri", ["http://evil.example.org/", "https://*.example.org/", "https://a.org/#x", "javascript:x"])
def test_unsafe_redirects(registrar: Registrar, uri: str) -> None:
    refused = registrar.send(AGENT | {"redirect_uris": [uri]})
    assert refused.status == 400 and refused.body["error"] == "invalid_redirect_uri"


def test_names_are_shown_harmless(service: Service, registrar: Registrar, rita: Browser) -> None:
    found = registrar.register(client_name="<script>alert(1)</script>\u202e\n" + "x" * 500, token_endpoint_auth_method="none")
    assert len(found["client_name"]) <= 64
    started = service.begin(found["client_id"])
    page = rita.open(started["verification_uri_complete"])
    assert "<script>" not in page.text and "&lt;script&gt;" in page.text


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400), (b"{", 400), (b"[]", 400), (b"null", 400), (b"[" * 9000, 400), (b"\xff", 400), (b'"x"', 400),
        (b'{"scope": "' + b"x" * (1 << 14) + b'"}', 413), (b'{"client_name": "\\ud800", "grant_types": 1}', 400),
        (b"{" + b" " * (1 << 20) + b"}", 413),
    ],
)  # fmt: skip
def test_bad_bodies(registrar: Registrar, body: bytes, status: int) -> None:
    answer = registrar.send(body)
    assert answer.status == status and answer.body["error"] == "invalid_client_metadata"


def test_forms_of_browsers_register_nothing(registrar: Registrar) -> None:
    assert registrar.send(AGENT, kind="text/plain").status == 400
    assert registrar.send(None, method="GET").status == 405


def test_reading_and_ending(service: Service, registrar: Registrar, rita: Browser) -> None:
    found = registrar.register(token_endpoint_auth_method="none")
    where, token = found["registration_client_uri"], found["registration_access_token"]
    read = registrar.send(None, where, "GET", token)
    assert read.status == 200 and {**found, **read.body} == found
    tokens = service.connect(rita, found["client_id"])
    other = registrar.register()
    for wrong in ("", "x", other["registration_access_token"], tokens["access_token"]):
        for method in ("GET", "PUT", "DELETE"):
            answer = registrar.send(AGENT if method == "PUT" else None, where, method, wrong)
            assert answer.status == 401 and "Bearer" in registrar.headers["WWW-Authenticate"]
    assert registrar.send(None, f"{service.issuer}/register/farmlet", "DELETE", token).status == 401
    assert registrar.send(None, where, "DELETE", token).status == 204
    assert registrar.send(None, where, "GET", token).status == 401
    assert service.refresh(tokens["refresh_token"], found["client_id"]).status in (400, 401)


def test_changing(service: Service, registrar: Registrar) -> None:
    found = registrar.register()
    where, token = found["registration_client_uri"], found["registration_access_token"]
    wish = AGENT | {"client_id": found["client_id"], "client_name": "Renamed", "scope": "openid"}
    changed = registrar.send(wish | {"client_secret": found["client_secret"]}, where, "PUT", token)
    assert changed.status == 200 and changed.body["client_name"] == "Renamed" and changed.body["scope"] == "openid"
    assert "client_secret" not in changed.body, "the old one stays"
    basic = f"{found['client_id']}:{found['client_secret']}"
    assert service.request("/device-authorization/", {"scope": "openid"}, basic=basic).status == 200
    for wrong in (AGENT, wish | {"client_id": "farmlet"}, wish | {"client_secret": "x"}, wish | {"client_id_issued_at": 1}):
        assert registrar.send(wrong, where, "PUT", token).status == 400
    public = registrar.send(wish | {"token_endpoint_auth_method": "none"}, where, "PUT", token)
    assert public.status == 200 and "client_secret" not in public.body
    assert service.request("/device-authorization/", {"scope": "openid"}, basic=basic).status == 401
    again = registrar.send(wish, where, "PUT", token)
    assert again.status == 200 and again.body["client_secret"] not in ("", found["client_secret"])
    renewed = f"{found['client_id']}:{again.body['client_secret']}"
    assert service.request("/device-authorization/", {"scope": "openid"}, basic=renewed).status == 200


def test_too_many_from_one_address_wait_and_nobody_else(service: Service, registrar: Registrar) -> None:
    for _ in range(20):
        registrar.register(token_endpoint_auth_method="none")
    refused = registrar.send(AGENT)
    assert refused.status == 429 and int(registrar.headers["Retry-After"]) > 0
    assert service.request("/device-authorization/", {"client_id": "farmlet", "scope": "openid"}).status == 200
    execute(service, "update identity_attempt set address = 'elsewhere' where account = 'registration' and address != ''")
    registrar.register()
    # after a while there is room again, as much as time has passed
    then = datetime.now(UTC) - timedelta(seconds=400)
    full = f"update identity_attempt set failures = 20, last = '{then:%Y-%m-%d %H:%M:%S.%f}'"
    execute(service, f"{full} where account = 'registration' and address != ''")
    registrar.register()
    registrar.register()
    assert registrar.send(AGENT).status == 429


def test_a_registration_is_not_changed_on_and_on(registrar: Registrar) -> None:
    """Each change is a line in the audit log."""
    own, other = registrar.register(), registrar.register()

    def change(client: dict[str, Any]) -> int:
        body = AGENT | {"client_id": client["client_id"]}
        uri, token = client["registration_client_uri"], client["registration_access_token"]
        return registrar.send(body, uri, "PUT", token).status

    assert [change(own) for _ in range(21)] == [200] * 20 + [429]
    assert change(other) == 200


def test_too_many_in_all_wait(service: Service, registrar: Registrar) -> None:
    registrar.register()
    execute(service, "update identity_attempt set failures = 200 where account = 'registration' and address = ''")
    execute(service, "update identity_attempt set failures = 0 where account = 'registration' and address != ''")
    assert registrar.send(AGENT).status == 429


def test_a_closed_facility(service: Service, registrar: Registrar) -> None:
    found = registrar.register()
    port = find_port()
    closed = Service(f"https://localhost:{port}", service.folder / "closed", service.cafile)
    closed.folder.mkdir()
    try:
        write_config(service, registration="closed", issuer=closed.issuer)
        tls = ("--certfile", service.cafile, "--keyfile", str(service.folder / "tls.key"))
        with serve(service, f"127.0.0.1:{port}", *tls):
            elsewhere = Registrar(closed)
            assert "registration_endpoint" not in closed.request("/.well-known/openid-configuration").body
            assert elsewhere.send(AGENT).status == 404
            path, token = f"/register/{found['client_id']}", found["registration_access_token"]
            assert elsewhere.send(None, path, "GET", token).status == 200, "who registered before may end it"
            assert elsewhere.send(None, path, "DELETE", token).status == 204
    finally:
        write_config(service)
