"""The endpoints that programs use: token (RFC 6749 §3.2) and device authorization (RFC 8628 §3.1)."""

# mypy: allow-subclassing-any, allow-untyped-decorators

from __future__ import annotations

import json
import secrets
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST
from oauthlib.common import Request
from oauthlib.oauth2.rfc6749.errors import OAuth2Error

from farmlet.parts.identity.service.django.models import Client, DeviceGrant
from farmlet.parts.identity.service.django.project import provider
from farmlet.parts.identity.service.login.password import find_address
from farmlet.parts.identity.service.login.rate_limit import bucket, take
from farmlet.parts.identity.service.members.members import digest
from farmlet.parts.identity.service.oauth import form, target
from farmlet.parts.identity.service.oauth.grants import DEVICE_CODE
from farmlet.parts.identity.service.oauth.server import Server
from farmlet.parts.identity.service.oauth.validator import Validator
from farmlet.parts.identity.service.tokens.audiences import ask
from farmlet.parts.identity.service.tokens.policy import restrict

LETTERS = "BCDFGHJKLMNPQRSTVWXZ"  # no vowels, no digits: easy to read out, no words (RFC 8628 §6.1)
HOURLY = 1200  # device codes for one address: each is a row until it ends
SERVER = Server(Validator())
NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}


@csrf_exempt
@require_POST
def answer(request: HttpRequest) -> HttpResponse:
    """Every grant type, as `handlers` answers, for a server that runs Django alone."""
    body = request.read(settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1)
    status, headers, text = respond(request.get_full_path(), body, request.META.get("HTTP_AUTHORIZATION", ""))
    return HttpResponse(text, status=status, headers=headers, content_type="application/json")


def respond(path: str, body: bytes | None, authorization: str) -> tuple[int, dict[str, str], str]:
    """Status, headers and JSON for a form as it came: oauthlib sees what was given twice. None was too long."""
    if body is None or len(body) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
        return 413, NO_STORE, complain("invalid_request", "the request is too long")
    given = {"HTTP_AUTHORIZATION": authorization}
    try:
        headers, text, status = SERVER.create_token_response(path, "POST", form.read(body), given)
    except ValueError:  # no form at all
        return 400, NO_STORE, complain("invalid_request", "the request is not a form")
    except OAuth2Error as error:
        headers, text, status = error.headers, error.json, error.status_code
    return status, {**headers, **NO_STORE}, text


@method_decorator(csrf_exempt, name="dispatch")
class ClientView(View):
    """An endpoint for clients, which prove themselves as at the token endpoint. Subclasses have `answer`."""

    http_method_names = ("post",)

    def post(self, request: HttpRequest) -> HttpResponse:
        given = {"HTTP_AUTHORIZATION": request.META.get("HTTP_AUTHORIZATION", "")}
        try:
            asked = Request(request.get_full_path(), "POST", form.read(request.body), given)
            form.check(asked)
        except RequestDataTooBig:
            return refuse("invalid_request", "the request is too long", 413)
        except ValueError:
            return refuse("invalid_request", "the request is not a form")
        except OAuth2Error as error:
            return refuse(error.error, error.description)
        if not SERVER.request_validator.authenticate_client(asked):
            return refuse("invalid_client", "no such client, or a wrong secret", 401)
        return self.answer(asked)

    def answer(self, asked: Any) -> HttpResponse:
        """Answer a request of `asked.client`, which is known by now."""
        raise NotImplementedError


class DeviceAuthorizationView(ClientView):
    """A device asks for a code; its scopes are cut to the client's own, the member's rights come in when they allow it."""

    def answer(self, asked: Any) -> HttpResponse:
        if DEVICE_CODE not in asked.client.grants:
            return refuse("unauthorized_client", "this client has no device grant")
        scopes = restrict((asked.scope or "openid").split(), asked.client)
        if not scopes:
            return refuse("invalid_scope", "this client may ask for none of these scopes")
        audience = ask(target.name(asked.decoded_body or ()), asked.client)
        if audience is None:
            return refuse("invalid_target", "this client may not ask for this audience")
        with transaction.atomic():
            allowed = take("device codes", bucket(find_address(self.request)), HOURLY)
        if not allowed:
            return refuse("temporarily_unavailable", "too many codes for this address; please try again later", 429)
        return JsonResponse(begin(asked.client, scopes, audience), headers=NO_STORE)


def begin(client: Client, scopes: tuple[str, ...], audience: tuple[str, ...]) -> dict[str, Any]:
    """Store a new device grant and return the answer for the device."""
    configuration = provider().configuration
    now = timezone.now()
    code, letters = secrets.token_urlsafe(32), "".join(secrets.choice(LETTERS) for _ in range(8))
    DeviceGrant.objects.create(
        client_id=client.client_id,
        device_code=digest(code),
        user_code=letters,
        scope=" ".join(scopes),
        audience=" ".join(audience),
        interval=configuration.device_interval,
        expires=now + timedelta(seconds=configuration.lifetimes.device),
    )
    shown = f"{letters[:4]}-{letters[4:]}"
    page = configuration.issuer + reverse("device")
    return {
        "device_code": code,
        "user_code": shown,
        "verification_uri": page,
        "verification_uri_complete": f"{page}?user_code={shown}",
        "expires_in": configuration.lifetimes.device,
        "interval": configuration.device_interval,
    }


def refuse(code: str, description: str, status: int = 400) -> HttpResponse:
    """An error answer (RFC 6749 §5.2)."""
    headers = {**NO_STORE, **({"WWW-Authenticate": 'Basic realm="token"'} if status == 401 else {})}
    return HttpResponse(complain(code, description), status=status, headers=headers, content_type="application/json")


def complain(code: str, description: str) -> str:
    """The body of an error answer (RFC 6749 §5.2)."""
    return json.dumps({"error": code, "error_description": description})
