"""Where SCIM is mounted, and which programs may come in; free of SCIM's models, which take a second to import."""

from __future__ import annotations

from dataclasses import dataclass

from django.http import HttpRequest, HttpResponse, JsonResponse

from farmlet.facility.places import ANY
from farmlet.parts.identity.service.django.models import Client
from farmlet.parts.identity.service.django.project import provider
from farmlet.parts.identity.service.tokens.bearer import Denied, authenticate

ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"


@dataclass(frozen=True)
class Mount:
    """`path` below the issuer; `largest`: resources of one page."""

    path: str
    largest: int
    content: str


OURS = Mount("/scim/v2", 1000, "application/scim+json")
INDIGO = Mount("/scim", 100, "application/scim+json;charset=UTF-8")


@dataclass(frozen=True)
class Subject:
    """Who asks: a program with its scopes, or for `/Me` the member with that id."""

    by: str
    scopes: frozenset[str]
    member: str = ""


def authorise_program(request: HttpRequest, wanted: frozenset[str]) -> Subject:
    """The program whose token has one of the wanted scopes. Raises Denied."""
    claims, _ = authenticate(request, (ANY, provider().issuer))
    client = Client.objects.filter(client_id=claims.client_id).first()
    scopes = frozenset(claims.scopes & set(client.scopes)) if client else frozenset()
    if scopes.isdisjoint(wanted):
        raise Denied(403, "insufficient_scope", f"scope {' or '.join(sorted(wanted))} is needed, and its client's too")
    if claims.username:
        raise Denied(401, "invalid_token", "it is no program's own token")
    return Subject(f"client {claims.client_id}", scopes)


def deny(error: Denied, content: str) -> HttpResponse:
    """An error of RFC 6750 in SCIM's form (RFC 7644 §3.12)."""
    body = {"schemas": [ERROR], "status": str(error.status), "detail": error.description}
    headers = {"WWW-Authenticate": error.challenge, "Cache-Control": "no-store"}
    return JsonResponse(body, status=error.status, content_type=content, headers=headers)
