"""What programs find out about the service, and which cannot be registered."""

from __future__ import annotations

import pytest
from issuer import Service
from party import BACK

pytestmark = pytest.mark.service


def test_discovery_tells_what_there_is(service: Service) -> None:
    body = service.request("/.well-known/openid-configuration").body
    assert body == service.request("/.well-known/oauth-authorization-server").body
    assert body["authorization_endpoint"] == f"{service.issuer}/authorize/"
    assert body["end_session_endpoint"] == f"{service.issuer}/logout/"
    assert "authorization_code" in body["grant_types_supported"] and "unsupported" not in body["grant_types_supported"]
    assert body["code_challenge_methods_supported"] == ["S256"] and body["response_types_supported"] == ["code"]
    assert body["id_token_signing_alg_values_supported"] == ["RS256", "ES256"]
    assert body["authorization_response_iss_parameter_supported"] and not body["request_uri_parameter_supported"]
    for name in (name for name in body if name.endswith("_endpoint") or name == "jwks_uri"):
        path = body[name].removeprefix(service.issuer)
        assert service.request(path).status != 404 or name == "scim_endpoint", name


@pytest.mark.parametrize(
    "options",
    [
        ("--redirect-uri=https://*.example.org/back",),
        (),
        (f"--redirect-uri={BACK}", "--post-logout-uri=javascript:alert(1)"),
        (f"--redirect-uri={BACK}", "--trusted"),
    ],
)
def test_impossible_clients(service: Service, options: tuple[str, ...]) -> None:
    done = service.run("client", "ensure", "impossible", "--public", "--grant=code", *options)
    assert done.returncode == 2 and "Traceback" not in done.stderr
