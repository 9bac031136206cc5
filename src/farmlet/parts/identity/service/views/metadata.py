"""Discovery, keys and userinfo. Sources: OpenID Connect Discovery 1.0, RFC 8414, RFC 7517, OpenID Connect Core §5.3."""

# mypy: allow-untyped-decorators

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import reverse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_safe

from farmlet.parts.identity.service.models import Member
from farmlet.parts.identity.service.oauth.exchange import TOKEN_EXCHANGE
from farmlet.parts.identity.service.oauth.mint import describe
from farmlet.parts.identity.service.oauth.server import DEVICE_CODE
from farmlet.parts.identity.service.policy import SUPPORTED
from farmlet.parts.identity.service.project import provider
from farmlet.parts.identity.service.views.bearer import Denied, authenticate

FRESH = "max-age=60"  # a withdrawn key is to be forgotten within a minute


@require_safe
def show_metadata(request: HttpRequest) -> HttpResponse:
    """The discovery document."""
    service = provider()

    def locate(name: str) -> str:
        return f"{service.issuer}{reverse(name)}"

    document: dict[str, Any] = {
        "issuer": service.issuer,
        "jwks_uri": locate("jwks"),
        "token_endpoint": locate("token"),
        "device_authorization_endpoint": locate("device-authorization"),
        "userinfo_endpoint": locate("userinfo"),
        "revocation_endpoint": locate("revoke"),
        "introspection_endpoint": locate("introspect"),
        "scim_endpoint": f"{service.issuer}/scim/v2",
        "grant_types_supported": [DEVICE_CODE, "refresh_token", "client_credentials", TOKEN_EXCHANGE],
        "response_types_supported": [],
        "scopes_supported": list(SUPPORTED),
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [service.configuration.algorithm],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
        "claims_supported": ["sub", "preferred_username", "name", "email", "wlcg.groups", "wlcg.ver"],
    }
    return JsonResponse(document, headers={"Cache-Control": FRESH, "Access-Control-Allow-Origin": "*"})


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
        claims = authenticate(request, "openid", None)
        member = Member.objects.filter(sub=claims.sub).prefetch_related("groups").first() if claims.username else None
        if member is None or not member.is_active:
            raise Denied(401, "invalid_token", "its member is not active")
    except Denied as error:
        return HttpResponse(status=error.status, headers={"WWW-Authenticate": error.challenge})
    answer = {"sub": claims.sub, **describe(member, str(claims.raw.get("scope", "")).split())}  # in the order of the request
    return JsonResponse(answer, headers={"Cache-Control": "no-store"})
