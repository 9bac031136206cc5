"""What INDIGO IAM has below a group: `/Groups/{id}/members` and `/Groups/{id}/subgroups`, for reading."""

from __future__ import annotations

from scim2_models import NotFoundException
from scim2_server.requests import ScimRequest
from scim2_server.responses import ScimResponse
from scim2_server.routing import Operation, Target

from farmlet.parts.identity.service.django.models import Member
from farmlet.parts.identity.service.scim.groups import Groups, link
from farmlet.parts.identity.service.scim.service import Service, list_page


def list_nested(service: Service, request: ScimRequest, groups: Groups) -> ScimResponse | None:
    """A page of references, None if the request is for something else.

    `members` are all whom membership follows for, those of subgroups too; `subgroups` the groups one step below.
    """
    steps = request.path.strip("/").split("/")
    if request.method != "GET" or len(steps) != 3 or steps[0] != "Groups" or steps[2] not in ("members", "subgroups"):
        return None
    kind = service.resource_type_at("Groups")
    service.authorize(request, Target(Operation.search, "Groups", steps[1]), kind)
    group = groups.find(steps[1])
    if group is None:
        raise NotFoundException(detail="no such Group")
    asked, _ = service.read_search_query([kind], request.query)
    below = [other for other in groups.query() if other.path.startswith(f"{group.path}/")]
    if steps[2] == "subgroups":
        children = [other for other in below if "/" not in other.path.removeprefix(f"{group.path}/")]
        found = [link(other, groups.base) for other in children]
    else:
        within: dict[int, Member] = {member.pk: member for one in (group, *below) for member in one.people}
        members = [within[key] for key in sorted(within)]
        found = [{**groups.refer(member), "display": member.username or member.name} for member in members]
    start = asked.start_index_0 or 0
    return list_page(len(found), start + 1, found[start : start + (asked.count or 0)])
