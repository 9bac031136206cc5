"""Discovery, keys and userinfo. Sources: OpenID Connect Discovery 1.0, RFC 8414, RFC 7517, OpenID Connect Core §5.3."""

# mypy: allow-untyped-decorators

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import NoReverseMatch, reverse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_safe

from farmlet.parts.identity.service.django.project import provider
from farmlet.parts.identity.service.oauth.mint import describe
from farmlet.parts.identity.service.oauth.request import MODES, PROMPTS
from farmlet.parts.identity.service.oauth.server import Server
from farmlet.parts.identity.service.tokens.bearer import Denied, authenticate_member
from farmlet.parts.identity.service.tokens.policy import SUPPORTED
from farmlet.runtime.tokens import ALGORITHMS

FRESH = "max-age=60"  # a withdrawn key is to be forgotten within a minute
# what the document calls a route: those that this version of the service has are named in it
ENDPOINTS = {
    "authorization_endpoint": "authorize",
    "token_endpoint": "token",
    "device_authorization_endpoint": "device-authorization",
    "registration_endpoint": "register",
    "introspection_endpoint": "introspect",
    "revocation_endpoint": "revoke",
    "end_session_endpoint": "logout",
    "userinfo_endpoint": "userinfo",
    "jwks_uri": "jwks",
}
CLAIMS = ("sub", "iss", "aud", "exp", "iat", "jti", "auth_time", "nonce", "at_hash")
PERSONAL = ("preferred_username", "name", "email", "wlcg.groups", "wlcg.ver", "scope", "client_id")
WITH_SECRET = ["client_secret_basic", "client_secret_post"]


@csrf_exempt
@require_safe
def show_metadata(request: HttpRequest) -> HttpResponse:
    """The discovery document."""
    service = provider()
    document: dict[str, Any] = {
        "issuer": service.issuer,
        **{key: service.issuer + path for key, name in ENDPOINTS.items() if (path := _find_path(name))},
        "scim_endpoint": f"{service.issuer}/scim/v2",
        "grant_types_supported": [name for name in Server(None).grant_types if name != "unsupported"],
        "response_types_supported": ["code"],
        "response_modes_supported": list(MODES),
        "code_challenge_methods_supported": ["S256"],
        "prompt_values_supported": sorted(PROMPTS),
        "scopes_supported": list(SUPPORTED),
        "claims_supported": [*CLAIMS, *PERSONAL],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": sorted(ALGORITHMS, reverse=True),
        "token_endpoint_auth_methods_supported": [*WITH_SECRET, "none"],
        "authorization_response_iss_parameter_supported": True,
        "claims_parameter_supported": False,
        "request_parameter_supported": False,
        "request_uri_parameter_supported": False,
        "ui_locales_supported": ["en-GB"],
    }
    for name, methods in (("introspection", WITH_SECRET), ("revocation", [*WITH_SECRET, "none"])):
        if f"{name}_endpoint" in document:
            document[f"{name}_endpoint_auth_methods_supported"] = methods
    return JsonResponse(document, headers={"Cache-Control": FRESH, "Access-Control-Allow-Origin": "*"})


def _find_path(name: str) -> str:
    """The path of the route `name`, "" if there is none."""
    try:
        return str(reverse(name))
    except NoReverseMatch:
        return ""


@csrf_exempt
@require_safe
def show_keys(request: HttpRequest) -> HttpResponse:
    """The public keys."""
    headers = {"Cache-Control": FRESH, "Access-Control-Allow-Origin": "*"}
    return JsonResponse(provider().keys.published(), headers=headers, content_type="application/jwk-set+json")


@csrf_exempt
@require_http_methods(["GET", "HEAD", "POST"])
def show_member(request: HttpRequest) -> HttpResponse:
    """Who the holder of a token is. Any audience will do: the answer holds no more than the token itself allows to know."""
    try:
        claims, member = authenticate_member(request)
    except Denied as error:
        return HttpResponse(status=error.status, headers={"WWW-Authenticate": error.challenge})
    answer = {"sub": claims.sub, **describe(member, str(claims.raw.get("scope", "")).split())}  # in the order of the request
    return JsonResponse(answer, headers={"Cache-Control": "no-store"})
