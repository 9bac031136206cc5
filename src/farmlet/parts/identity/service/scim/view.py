"""SCIM's endpoints, mounted twice: at `/scim/v2`, and at `/scim` as INDIGO IAM has it."""

# mypy: allow-untyped-decorators

from __future__ import annotations

from functools import cache
from http import HTTPStatus

from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from scim2_models import InvalidValueException, PayloadTooLargeException, SCIMException
from scim2_server.handler import ScimHandler
from scim2_server.requests import ScimRequest
from scim2_server.responses import ScimResponse
from scim2_server.routing import RESERVED_NAMES

from farmlet.errors import InputError
from farmlet.parts.identity.service.django.project import provider
from farmlet.parts.identity.service.scim.access import Mount, Subject, authorise_program, deny
from farmlet.parts.identity.service.scim.dialects import tell_plainly, translate
from farmlet.parts.identity.service.scim.groups import Groups
from farmlet.parts.identity.service.scim.models import describe_service
from farmlet.parts.identity.service.scim.nested import list_nested
from farmlet.parts.identity.service.scim.service import Service
from farmlet.parts.identity.service.scim.storage import Storage
from farmlet.parts.identity.service.scim.users import Users
from farmlet.parts.identity.service.tokens.bearer import Denied, authenticate_member

SCOPES = frozenset({"scim:read", "scim:write"})
DISCOVERY = RESERVED_NAMES - {"Bulk", "Me"}
# what a member's token tells at /Me only with another scope (OpenID Connect Core §5.4)
PROFILE = ("displayName", "name", "nickName", "profileUrl", "title", "photos", "locale", "timezone")
CONTACT = ("emails", "phoneNumbers", "ims", "addresses")


@cache
def _service(mount: Mount) -> Service:
    return Service(describe_service(mount.largest))


@csrf_exempt
def serve(request: HttpRequest, mount: Mount, path: str | None = None) -> HttpResponse:
    """Any SCIM request (RFC 7644)."""
    path = path or ""
    service = _service(mount)
    try:
        subject = authorise(request, path)
        answer = _handle(request, mount, path, subject)
    except Denied as error:
        return deny(error, mount.content)
    except RequestDataTooBig:
        answer = service.error_response(PayloadTooLargeException(detail="the request is too large"))
    except InputError as error:
        answer = service.error_response(InvalidValueException(detail=f"{error.where}: {error.what}"))
    except SCIMException as error:
        answer = service.error_response(error)
    return _write(answer, mount)


def authorise(request: HttpRequest, path: str) -> Subject:
    """Who asks. Raises Denied.

    `/Me` wants a member's token of scope `openid`; discovery wants none; all else wants a program's own token, whose
    client may still have `scim:read` or `scim:write`. No member's token carries these scopes, whatever their rights.
    """
    first = path.strip("/").partition("/")[0]
    if first in DISCOVERY:
        return Subject("", frozenset())
    if first == "Me":
        claims, member = authenticate_member(request)
        return Subject(member.name, frozenset(claims.scopes), str(member.sub))
    return authorise_program(request, SCOPES)


def _handle(request: HttpRequest, mount: Mount, path: str, subject: Subject) -> ScimResponse:
    base = f"{provider().issuer}{mount.path}"
    method = "GET" if request.method == "HEAD" else str(request.method)
    users, groups = Users(provider(), base, subject.by), Groups(provider(), base, subject.by)
    body = request.body
    if method in ("POST", "PUT", "PATCH") and "scim:write" in subject.scopes:
        body = translate(method, path, body, users, groups)
    asked = ScimRequest(method, base, f"/{path}", request.GET.dict(), dict(request.headers), body, subject)
    service = _service(mount)
    if nested := list_nested(service, asked, groups):
        return nested
    writes = method != "GET" and not path.endswith(".search")
    answer = ScimHandler(service, Storage((users, groups), writes)).handle(asked)
    return _withhold(answer, subject) if subject.member else answer


def _withhold(answer: ScimResponse, subject: Subject) -> ScimResponse:
    """`/Me` without what the token's scopes do not tell."""
    hidden = [*(PROFILE if "profile" not in subject.scopes else ()), *(CONTACT if "email" not in subject.scopes else ())]
    if answer.body is not None:
        answer.body = {name: value for name, value in answer.body.items() if name not in hidden}
    return answer


def _write(answer: ScimResponse, mount: Mount) -> HttpResponse:
    headers = {name: value for name, value in answer.headers.items() if name != "Content-Type"}
    headers["Cache-Control"] = "no-store"
    if answer.status >= HTTPStatus.BAD_REQUEST and isinstance(answer.body, dict) and answer.body.get("detail"):
        answer.body["detail"] = tell_plainly(str(answer.body["detail"]))
    if answer.body is None:
        empty = HttpResponse(status=answer.status, headers=headers)
        del empty["Content-Type"]
        return empty
    return JsonResponse(answer.body, status=answer.status, headers=headers, content_type=mount.content)
