"""`/openapi.json`: the whole document."""

# mypy: allow-untyped-decorators

from __future__ import annotations

from functools import cache
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from farmlet import __version__
from farmlet.parts.identity.service.django.project import provider
from farmlet.parts.identity.service.openapi import oauth, scim
from farmlet.parts.identity.service.openapi.parts import answer, operation

SECURITY = {
    "basic": {"type": "http", "scheme": "basic", "description": "A client's name and secret"},
    "bearer": {"type": "http", "scheme": "bearer", "description": "An access token of this issuer"},
    "registration": {"type": "http", "scheme": "bearer", "description": "The token that came with the registration"},
}
ITSELF = {"get": operation("This document", {200: answer("OpenAPI 3.1", {"type": "object"})})}


@cache
def describe(issuer: str, title: str, registration: bool) -> dict[str, Any]:
    """The document. `registration`: whether programs may register themselves."""
    opened = oauth.REGISTRATION if registration else {}
    return {
        "openapi": "3.1.0",
        "info": {"title": f"Identity of {title}", "version": __version__, "description": "Pages for people are not described."},
        "servers": [{"url": issuer}],
        "paths": {"/openapi.json": ITSELF, **oauth.PATHS, **opened, **oauth.REGISTERED, **scim.PATHS},
        "components": {"schemas": {**oauth.SCHEMAS, **scim.SCHEMAS}, "securitySchemes": SECURITY},
    }


@csrf_exempt
@require_safe
def show(request: HttpRequest) -> HttpResponse:
    """The document of this service."""
    configuration = provider().configuration
    document = describe(configuration.issuer, configuration.title, configuration.registration == "open")
    return JsonResponse(document, headers={"Cache-Control": "max-age=3600", "Access-Control-Allow-Origin": "*"})
