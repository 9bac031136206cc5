"""Users and groups as they are read by SCIM. §5."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from indigo.client import Refusal

if TYPE_CHECKING:
    from indigo.iam import Iam

LARGEST = 100
LIST = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
GROUPS = ["urn:ietf:params:scim:schemas:core:2.0:Group", "urn:indigo-dc:scim:schemas:IndigoGroup"]


class Unknown(Refusal):
    """404 in SCIM's own words."""

    def __init__(self, kind: str, uid: str) -> None:
        super().__init__(404, "404")
        detail = f"No {kind} mapped to id '{uid}'"
        self.body = {"status": "404", "detail": detail, "schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"]}


def page(found: list[dict[str, Any]], query: dict[str, str]) -> dict[str, Any]:
    """`filter` and `sortBy` are ignored; a page has 100 at most, and a change before it shifts what is on it."""
    try:
        start, count = max(1, int(query.get("startIndex", 1))), min(LARGEST, int(query.get("count", LARGEST)))
    except ValueError:
        raise Refusal(400, "invalid_request") from None
    body: dict[str, Any] = {"totalResults": len(found), "schemas": [LIST]}
    if count <= 0:
        return body | {"Resources": []}
    shown = found[start - 1 : start - 1 + count]
    if names := query.get("attributes"):
        kept = {"id", "schemas", *names.split(",")}
        shown = [{name: value for name, value in one.items() if name in kept} for one in shown]
    return body | {"itemsPerPage": len(shown), "startIndex": start, "Resources": shown}


def read_user(iam: Iam, uid: str) -> dict[str, Any]:
    if found := iam.by_id(uid):
        return found
    raise Unknown("user", uid)


def list_groups(iam: Iam) -> list[dict[str, Any]]:
    named = {group["display"]: group for user in iam.users for group in user.get("groups", ())}
    return [describe_group(iam, name) for name in sorted(named)]


def describe_group(iam: Iam, name: str) -> dict[str, Any]:
    parent = iam.group(name.rpartition("/")[0]) if "/" in name else None
    more = {"parentGroup": parent, "description": None, "labels": None}
    return {"id": iam.group(name)["value"], "schemas": GROUPS, "displayName": name, GROUPS[1]: more}


def read_group(iam: Iam, uid: str) -> dict[str, Any]:
    for group in list_groups(iam):
        if group["id"] == uid:
            return group
    raise Unknown("group", uid)
