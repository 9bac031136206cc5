"""Members for other services: reading by SCIM (RFC 7643, 7644) and a feed of changes. Needs the scope `scim:read`."""

# mypy: allow-untyped-decorators

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.db.models import Max, QuerySet
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe

from farmlet.facility.names import unix_group
from farmlet.facility.rights import scopes
from farmlet.parts.identity.service.models import Change, Client, Group, Member
from farmlet.parts.identity.service.policy import resolve
from farmlet.parts.identity.service.project import provider
from farmlet.parts.identity.service.tokens import ANY
from farmlet.parts.identity.service.views.bearer import Denied, authenticate

CORE = "urn:ietf:params:scim:schemas:core:2.0:User"
OURS = "urn:farmlet:scim:User"
LARGEST = 1000  # members of one page
LONGEST = 55.0  # seconds a reader of the feed is kept waiting
STEP = 0.2

View = Callable[..., HttpResponse]


def guard(view: View) -> View:
    """Lets in only programs whose client still has `scim:read`; tells errors in SCIM's way."""

    @require_safe
    @wraps(view)
    def guarded(request: HttpRequest, **names: str) -> HttpResponse:
        try:
            claims = authenticate(request, "scim:read", (ANY, provider().issuer))
            client = Client.objects.filter(client_id=claims.client_id).first()
            if client is None or "scim:read" not in client.scopes:
                raise Denied(401, "invalid_token", "its client may no longer read")
            return view(request, **names)
        except Denied as error:
            response = complain(error.status, error.description)
            response["WWW-Authenticate"] = error.challenge
            return response
        except ValueError as error:
            return complain(400, str(error), "invalidValue")

    checked: View = guarded
    return checked


@guard
def list_users(request: HttpRequest) -> HttpResponse:
    """ListResponse, `startIndex` from 1, `count` up to 1000 (RFC 7644 §3.4.2.4). Removed members are listed as such."""
    if "filter" in request.GET:
        return complain(400, "filters are not supported", "invalidFilter")
    start, count = max(1, _number(request, "startIndex", 1)), _number(request, "count", LARGEST)
    found = _query()
    page = found[start - 1 : start - 1 + max(0, min(count, LARGEST))]
    gids = _gids()
    resources = [describe(member, gids) for member in page]
    body = {
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
        "totalResults": found.count(),
        "startIndex": start,
        "itemsPerPage": len(resources),
        "Resources": resources,
    }
    return _answer(body)


@guard
def show_user(request: HttpRequest, sub: str) -> HttpResponse:
    """One member."""
    try:
        member = _query().filter(sub=uuid.UUID(sub)).first()
    except ValueError:
        member = None
    return _answer(describe(member, _gids())) if member else complain(404, "no such member")


@guard
def follow(request: HttpRequest) -> HttpResponse:
    """`{"cursor", "changed": [sub, …]}` of what came after `cursor`; waits up to `wait` seconds (≤ 55) for something.

    A cursor from the future (the database was restored) is answered at once with everybody.
    """
    cursor = _number(request, "cursor", 0)
    deadline = time.monotonic() + min(LONGEST, max(0, _number(request, "wait", 0)))
    while (newest := Change.objects.aggregate(newest=Max("id"))["newest"] or 0) == cursor and time.monotonic() < deadline:
        time.sleep(STEP)
    since = cursor if cursor <= newest else 0
    recent = Change.objects.filter(id__gt=since, id__lte=newest).order_by("id")
    subs = dict.fromkeys(str(sub) for sub in recent.values_list("member__sub", flat=True))
    return JsonResponse({"cursor": newest, "changed": list(subs)}, headers={"Cache-Control": "no-store"})


def describe(member: Member, gids: dict[str, int]) -> dict[str, Any]:
    """A member as a SCIM User with our extension. `groups` include the parents; `gids` are numbers by group path."""
    rights = resolve(provider().table, member)
    groups = [path for path in rights.groups if path in gids]
    resource: dict[str, Any] = {
        "schemas": [CORE, OURS],
        "id": str(member.sub),
        "userName": member.name,
        "displayName": member.display or member.name,
        "active": member.is_active,
        "groups": [{"value": path, "display": path} for path in groups],
        "meta": {
            "resourceType": "User",
            "created": member.created.isoformat(),
            "lastModified": member.updated.isoformat(),
            "location": f"{provider().issuer}/scim/v2/Users/{member.sub}",
        },
        OURS: {
            "uidNumber": member.number,
            "gidNumber": member.number,
            "groups": [{"path": path, "name": unix_group(path), "gidNumber": gids[path]} for path in groups],
            "kind": member.kind,
            "owner": member.owner.path if member.owner else None,
            "expires": member.expires.isoformat() if member.expires else None,
            "state": member.standing,
            "scopes": list(scopes(rights)),
        },
    }
    if member.email:
        resource["emails"] = [{"value": member.email, "primary": True}]
    return resource


def complain(status: int, detail: str, kind: str = "") -> HttpResponse:
    """An error in SCIM's form (RFC 7644 §3.12)."""
    body = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"], "status": str(status), "detail": detail}
    return _answer(body | ({"scimType": kind} if kind else {}), status)


def _query() -> QuerySet[Member]:
    return Member.objects.select_related("entry", "owner").prefetch_related("groups").order_by("pk")


def _gids() -> dict[str, int]:
    return {group.path: group.entry.number for group in Group.objects.filter(present=True).select_related("entry")}


def _answer(body: dict[str, Any], status: int = 200) -> HttpResponse:
    return JsonResponse(body, status=status, content_type="application/scim+json", headers={"Cache-Control": "no-store"})


def _number(request: HttpRequest, name: str, usual: int) -> int:
    text = request.GET.get(name, str(usual))
    if not text.lstrip("-").isdecimal() or len(text) > 18:
        raise ValueError(f"{name} is not an integer")
    return int(text)
