"""Clients that change, and forms that are none, at the token endpoint."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from issuer import Service, claims

from farmlet.parts.sitetests.tokens import CLIENT, SCOPES
from waiting import until

pytestmark = pytest.mark.service


def test_a_changed_client_is_known_within_seconds(service: Service) -> None:
    def ensure(scope: str) -> None:
        service.register("changing", "--grant=client_credentials", f"--scope={scope}")

    def ask() -> str:
        answer = service.token({"grant_type": "client_credentials"}, service.basic("changing"))
        return str(answer.body.get("scope", answer.body.get("error")))

    assert ask_unknown(service) == "invalid_client"
    ensure("scim:read")
    assert ask() == "scim:read"  # a name that nobody had is not remembered as such
    ensure("scim:write")
    until(lambda: ask() == "scim:write", 6)
    (service.folder / "changing.secret").unlink()
    ensure("scim:write")
    until(lambda: ask() == "scim:write", 6)  # with the new secret


def ask_unknown(service: Service) -> str:
    return str(service.token({"grant_type": "client_credentials"}, "changing:secret").body["error"])


@pytest.mark.once
def test_a_job_that_tests_a_site_gets_a_corner_of_storage_and_nothing_else(service: Service) -> None:
    element = "https://head.farmlet.test:8443"
    words = [word for scope in (*SCOPES, "storage.read:/") for word in ("--scope", scope)]
    service.register(CLIENT, "--grant=client_credentials", *words, "--audience", element, "--audience", f"{element}1")

    def ask(scope: str) -> Any:
        form = {"grant_type": "client_credentials", "scope": scope, "audience": f"{element} {element}1"}
        return service.token(form, service.basic(CLIENT))

    found = claims(ask(" ".join(f"{one}/tier1" for one in SCOPES)).body["access_token"])
    assert set(found["scope"].split()) == {f"{one}/tier1" for one in SCOPES}
    assert found["aud"] == [element, f"{element}1"] and found["exp"] - found["iat"] <= 3600
    # not even were it registered for more
    assert ask("storage.read:/").status == ask("storage.modify:/users").status == 400


@pytest.mark.once
@pytest.mark.parametrize(("body", "status"), [(b"a=" + b"x" * (1 << 18), 413), (b"\xff\xfe", 400), (b"{}", 400), (b"", 400)])
def test_bodies_that_are_no_form_of_ours(service: Service, body: bytes, status: int) -> None:
    answer = service.send("/token/", body)
    assert answer.status == status and b'"error"' in answer.text
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.once
@pytest.mark.parametrize("path", ["/token/", "/device-authorization/"])
def test_forms_that_cannot_be_read_are_not_taken_for_empty_ones(service: Service, path: str) -> None:
    """A client that proves itself in the header would get what it has by default, instead of what it asked for."""
    basic = base64.b64encode(b"farmlet:").decode()
    answer = service.send(path, b'scope=openid "storage.read:/"', Authorization=f"Basic {basic}")
    assert answer.status == 400 and b"not a form" in answer.text


@pytest.mark.once
def test_a_field_given_twice_is_refused(service: Service) -> None:
    """RFC 6749 §3.2: parameters must not be included more than once."""
    form = f"grant_type=client_credentials&client_id=accounts&client_secret={service.secret('accounts')}"
    answer = service.send("/token/", f"{form}&scope=scim:read&scope=scim:read".encode())
    assert answer.status == 400 and b"invalid_request" in answer.text


@pytest.mark.once
def test_the_token_endpoint_sets_no_cookies_and_is_not_sniffed(service: Service) -> None:
    headers = service.send("/token/", b"grant_type=client_credentials").headers
    assert "Set-Cookie" not in headers and headers["X-Content-Type-Options"] == "nosniff"
    assert "max-age" in headers["Strict-Transport-Security"]
