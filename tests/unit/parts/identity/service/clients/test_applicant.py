"""What programs that register themselves may say of themselves."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farmlet.parts.identity.service.clients.applicant import GRANTS, NAME, NAMELESS, Rejected, check_redirect, clean, validate

DEVICE = "urn:ietf:params:oauth:grant-type:device_code"


@pytest.mark.parametrize(
    "uri",
    [
        "https://app.example.org/back?x=1", "http://localhost:4242", "http://127.0.0.1/cb", "http://[::1]:80/cb",
        "edu.kit.data.oidc-agent:/redirect", "org.example.app:/oauth2redirect/idp",
    ],
)  # fmt: skip
def test_redirects_that_do(uri: str) -> None:
    assert check_redirect(uri) == ""


@pytest.mark.parametrize(
    "uri",
    [
        "http://app.example.org/", "http://localhost.example.org/", "http://127.0.0.1.example.org/", "http://localhost@evil.org/",
        "https://*.example.org/", "https://app.example.org/*", "https://user@app.example.org/", "https://app.example.org/#x",
        "https://app.example.org/#", "https:///path", "https:app.example.org", "//app.example.org/", "/back", "",
        "javascript:alert(1)", "data:text/html,x", "myapp:/cb", "file:///etc/passwd", "https://app.example.org\\@evil.org/",
        "https://app.example.org/ https://evil.org/", "https://app.example.org/\n", "https://äpp.example.org/",
        "https://app.example.org:99999/", "https://[::1/", "https://a.org/" + "x" * 500, "urn:ietf:wg:oauth:2.0:oob",
    ],
)  # fmt: skip
def test_redirects_that_do_not(uri: str) -> None:
    assert check_redirect(uri)


@given(st.text())
def test_any_text_is_validated_and_no_redirect_splits(text: str) -> None:
    if check_redirect(text) == "":
        assert text.split() == [text]


@given(st.text())
def test_names_are_one_visible_line(text: str) -> None:
    name = clean(text)
    assert 0 < len(name) <= NAME and name == " ".join(name.split()) and name.isprintable()


def test_names_that_deceive() -> None:
    assert clean("Farm\u202elet\u0000\n command\u200b") == "Farm let command"
    assert clean("\u200b\n") == clean("") == NAMELESS


@pytest.mark.parametrize(
    "data",
    [
        {"grant_types": ["client_credentials"]},
        {"grant_types": ["refresh_token"]},
        {"grant_types": DEVICE},
        {"grant_types": [DEVICE, 1]},
        {"grant_types": [DEVICE], "redirect_uris": "https://a.org/"},
        {"grant_types": [DEVICE], "redirect_uris": [f"https://a.org/{number}" for number in range(11)]},
        {"grant_types": [DEVICE], "client_name": ["x"]},
        {"grant_types": [DEVICE], "scope": ["openid"]},
        {"grant_types": [DEVICE], "scope": "openid \x00"},
        {"grant_types": [DEVICE], "scope": "\ud800"},
        {"grant_types": [DEVICE], "token_endpoint_auth_method": "private_key_jwt"},
        {"grant_types": [DEVICE], "id_token_signed_response_alg": "none"},
        {},
    ],
)
def test_what_cannot_be_registered(data: dict[str, Any]) -> None:
    with pytest.raises(Rejected):
        validate(data)


def test_more_than_may_be_had_is_cut() -> None:
    found = validate({"grant_types": [DEVICE, "client_credentials", "password", "refresh_token"], "jwks": {}, "contacts": 1})
    assert found.grants == (DEVICE, "refresh_token") and set(found.grants) < set(GRANTS)
    assert found.name == NAMELESS and found.scope is None
