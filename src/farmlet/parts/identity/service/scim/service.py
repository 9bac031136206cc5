"""The protocol, from scim2-server, with what is ours: who may do what, `/Me`, and lists that are written fast."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from scim2_models import Context, ForbiddenException, ResourceType, ResponseParameters, SearchRequest
from scim2_models import Resource as Model
from scim2_server.requests import ScimRequest
from scim2_server.responses import ScimResponse
from scim2_server.routing import Operation, Target
from scim2_server.service import ScimService
from scim2_server.storage import SearchPage

from farmlet.parts.identity.service.scim.models import GROUP, OUR_USER, USER
from farmlet.parts.identity.service.scim.wire import load

READING = (Operation.query, Operation.search, Operation.search_with_body)
ALWAYS = ("schemas", "id", "meta")  # whatever a request leaves out, models are made with these
CORE = {USER.lower(), GROUP.lower()}  # asked for by these, all the attributes that carry no schema's name are wanted
LIST = "urn:ietf:params:scim:api:messages:2.0:ListResponse"


def list_page(total: int | None, start: int | None, page: list[Any]) -> ScimResponse:
    """A list (RFC 7644 §3.4.2): `page`, from the `start`-th (1 is the first) of `total` resources."""
    body = {"schemas": [LIST], "totalResults": total, "startIndex": start, "itemsPerPage": len(page), "Resources": page}
    return ScimResponse(HTTPStatus.OK, body)


class Service(ScimService):
    def authorize(self, request: ScimRequest, target: Target, resource_type: ResourceType) -> None:
        """`/Me` may be read; all else needs `scim:read` for reading and `scim:write` for writing."""
        reading = target.operation in READING
        if target.me and not reading:
            raise ForbiddenException(detail="/Me can only be read")
        needed = "scim:read" if reading else "scim:write"
        if not target.me and needed not in request.subject.scopes:
            raise ForbiddenException(detail=f"scope {needed} is needed")

    def me_target(self, request: ScimRequest) -> tuple[ResourceType, str]:
        return self.get_resource_type("User"), request.subject.member

    def me_creation_type(self, request: ScimRequest) -> ResourceType:
        return self.get_resource_type("User")

    @staticmethod
    def resource_response(
        resource: Model[Any],
        scim_ctx: Context,
        response_parameters: ResponseParameters[Any] | None = None,
        status: HTTPStatus = HTTPStatus.OK,
    ) -> ScimResponse:
        """Members without groups have an empty list of them here too, as in a list, unless only some attributes are asked for."""
        answer = ScimService.resource_response(resource, scim_ctx, response_parameters, status)
        if answer.body and not _selects(response_parameters) and (ours := answer.body.get(OUR_USER)) and "uidNumber" in ours:
            ours |= {name: ours.get(name, []) for name in ("groups", "scopes")}
        return answer

    def search_response(
        self, base_url: str, resource_types: list[ResourceType], page: SearchPage, search_request: SearchRequest[Any]
    ) -> ScimResponse:
        """The storage gives JSON with all attributes; models are made of it only where some are to be left out."""
        found: list[Any] = page.resources
        if _selects(search_request):
            models = (
                load(self.get_model(self.get_resource_type(each["meta"]["resourceType"])), _trim(each, search_request))
                for each in found
            )
            found = [
                each.model_dump(scim_ctx=Context.RESOURCE_QUERY_RESPONSE, response_parameters=search_request) for each in models
            ]
        return list_page(page.total, search_request.start_index, found)


def _selects(asked: ResponseParameters[Any] | None) -> bool:
    return bool(asked and (asked.attributes or asked.excluded_attributes))


def _trim(resource: Any, request: SearchRequest[Any]) -> Any:
    """The resource with at least the attributes asked for: what needs no model of scim2 is left out before one is made."""
    asked = {str(path).lower() for path in request.attributes or ()}
    if not asked or asked & CORE:
        return resource
    text = ",".join(asked)
    return {name: value for name, value in resource.items() if name in ALWAYS or name.lower() in text}
