"""Lists with only some attributes: trimmed before scim2 makes models of them, they are what scim2 alone would give."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from scim2_models import Context, SearchRequest
from scim2_server.storage import SearchPage

from farmlet.parts.identity.service.scim.models import GROUP, INDIGO_USER, OUR_USER, USER, FullUser, describe_service
from farmlet.parts.identity.service.scim.service import Service

SERVICE = Service(describe_service(1000))
KIND = SERVICE.get_resource_type("User")
MEMBER: dict[str, Any] = {
    "schemas": [USER, OUR_USER, INDIGO_USER],
    "id": "7",
    "externalId": "HR-7",
    "userName": "nora",
    "displayName": "Nora",
    "name": {"givenName": "Nora", "familyName": "Čapek"},
    "active": True,
    "emails": [{"value": "nora@example.org", "type": "work", "primary": True}, {"value": "nc@example.org"}],
    "groups": [{"value": "8", "$ref": "https://a/Groups/8", "display": "lab", "type": "direct"}],
    OUR_USER: {"name": "nora", "uidNumber": 20000, "groups": [{"path": "lab", "name": "lab"}], "scopes": ["storage.read:/"]},
    INDIGO_USER: {"labels": [{"name": "shifts", "value": "night"}], "authorities": ["ROLE_USER"]},
    "meta": {"resourceType": "User", "location": "https://a/Users/7", "version": 'W/"1"'},
}
NAMES = (
    *("userName", "username", "name", "name.givenName", "emails", "emails.value", "groups.$ref", "meta", "meta.version", "id"),
    *("schemas", "displayName", "nickName", USER, USER.lower(), GROUP, f"{USER}:emails.type", f"{USER}:active"),
    *(OUR_USER, OUR_USER.upper(), f"{OUR_USER}:name", f"{OUR_USER}:groups.path", INDIGO_USER, f"{INDIGO_USER}:labels"),
)


@given(
    st.sampled_from(["attributes", "excludedAttributes"]),
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=3),
    st.sets(st.sampled_from(sorted(MEMBER.keys() - {"schemas", "id", "meta"}))),
)
def test_a_list_tells_what_scim2_would(parameter: str, names: list[str], missing: set[str]) -> None:
    asked = SearchRequest[FullUser].model_validate({parameter: ",".join(names)})
    member = {name: value for name, value in MEMBER.items() if name not in missing}
    body = SERVICE.search_response("https://a", [KIND], SearchPage(1, [member]), asked).body  # type: ignore[list-item]
    whole = FullUser.model_validate(member)
    told = whole.model_dump(scim_ctx=Context.RESOURCE_QUERY_RESPONSE, response_parameters=asked)
    assert body is not None and body["Resources"] == [told]


def test_a_list_with_some_attributes_is_scim2s_own() -> None:
    asked = SearchRequest[FullUser].model_validate({"attributes": "userName,meta.location", "startIndex": 3})
    body = SERVICE.search_response("https://a", [KIND], SearchPage(9, [MEMBER]), asked).body  # type: ignore[list-item]
    page = SearchPage(9, [FullUser.model_validate(MEMBER)])
    assert body == super(Service, SERVICE).search_response("https://a", [KIND], page, asked).body
