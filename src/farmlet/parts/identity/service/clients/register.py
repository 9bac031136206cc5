"""Dynamic client registration over HTTP: `/register/` (RFC 7591) and `/register/ID` (RFC 7592)."""

# mypy: allow-untyped-decorators

from __future__ import annotations

import json
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import reverse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from farmlet.parts.identity.service.clients import registration
from farmlet.parts.identity.service.clients.applicant import Rejected, validate
from farmlet.parts.identity.service.django.handlers import READ
from farmlet.parts.identity.service.django.models import Client
from farmlet.parts.identity.service.django.project import provider
from farmlet.parts.identity.service.login.password import find_address
from farmlet.parts.identity.service.oauth.token import NO_STORE

LIMIT = 1 << 14  # bytes of a request
WAIT = 300  # seconds until a registration that was too many may come again
OURS = ("registration_access_token", "registration_client_uri", "client_secret_expires_at", "client_id_issued_at")

View = Callable[..., HttpResponse]


def guard(view: View) -> View:
    """Tells in RFC 7591's words what a view rejects."""

    @csrf_exempt
    @wraps(view)
    def guarded(request: HttpRequest, **names: str) -> HttpResponse:
        try:
            return view(request, **names)
        except Rejected as error:
            headers = dict(NO_STORE)
            if error.status == 401:
                headers["WWW-Authenticate"] = f'Bearer error="{error.code}"'
            if error.status == 429:
                headers["Retry-After"] = str(WAIT)
            body = {"error": error.code, "error_description": error.description}
            return JsonResponse(body, status=error.status, headers=headers)

    checked: View = guarded
    return checked


@require_http_methods(["POST"])
@guard
def register(request: HttpRequest) -> HttpResponse:
    """A program registers itself."""
    client, secret, token = registration.register(provider(), validate(_read(request)), find_address(request))
    return _answer(client, token, secret, 201)


@require_http_methods(["GET", "PUT", "DELETE"])
@guard
def manage(request: HttpRequest, client_id: str) -> HttpResponse:
    """A program reads, replaces or ends its registration, by the token it was given with it."""
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    client = registration.find(client_id, token.strip()) if kind.lower() == "bearer" else None
    if client is None:
        raise Rejected("invalid_token", "no such registration, or not its token", 401)
    if request.method == "DELETE":
        registration.end(provider(), client)
        return HttpResponse(status=204, headers=NO_STORE)
    secret = ""
    if request.method == "PUT":
        data = _read(request)
        if data.get("client_id") != client_id or any(name in data for name in OURS):
            raise Rejected("invalid_client_metadata", f"client_id must be this client's; {', '.join(OURS)} must not be sent")
        held = data.get("client_secret")
        if held is not None and not (isinstance(held, str) and held.isascii()):
            raise Rejected("invalid_client_metadata", "client_secret is not one of ours")
        secret = registration.change(provider(), client, validate(data), held)
    return _answer(client, token.strip(), secret)


def _read(request: HttpRequest) -> dict[str, Any]:
    """The request's JSON object. Raises Rejected."""
    if request.content_type != "application/json":
        raise Rejected("invalid_client_metadata", "the request is not of type application/json")
    if int(request.META.get("CONTENT_LENGTH") or 0) > LIMIT:
        request.read(READ)  # a program that still sends would not see the answer
        raise Rejected("invalid_client_metadata", f"the request is longer than {LIMIT} bytes", 413)
    try:
        data = json.loads(request.body)
    except (ValueError, RecursionError) as error:
        raise Rejected("invalid_client_metadata", "the request is not JSON") from error
    if not isinstance(data, dict):
        raise Rejected("invalid_client_metadata", "the request is not a JSON object")
    return data


def _answer(client: Client, token: str, secret: str, status: int = 200) -> HttpResponse:
    """The client information response (RFC 7591 §3.2.1). A secret is there only when it is new: we keep none."""
    body = registration.describe(client) | {
        "registration_access_token": token,
        "registration_client_uri": provider().issuer + reverse("registration", args=[client.client_id]),
    }
    if secret:
        body |= {"client_secret": secret, "client_secret_expires_at": 0}  # 0: never
    return JsonResponse(body, status=status, headers=NO_STORE)
