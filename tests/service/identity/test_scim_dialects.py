"""SCIM as Entra, Okta and others really send it: taken or passed over, and nobody stays who should be gone."""

from __future__ import annotations

from typing import Any

import pytest
from issuer import Service
from scim import GROUP, PATCH, USER, Program, start

pytestmark = pytest.mark.service
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
# as Entra's provisioning sends a new person
ENTRA: dict[str, Any] = {
    "schemas": [USER, ENTERPRISE],
    "externalId": "58342554-38d6-4ec8-948c-50044d0a33fd",
    "active": True,
    "emails": [{"primary": True, "type": "work", "value": "lena@example.org"}],
    "meta": {"resourceType": "User"},
    "name": {"formatted": "Lena Example", "familyName": "Example", "givenName": "Lena"},
    "roles": [],
    ENTERPRISE: {"department": "Physics", "employeeNumber": "7", "manager": {"value": "26118915-6090-4610-87e4-49d8ca9f808d"}},
}
# as Okta's
OKTA: dict[str, Any] = {
    "schemas": [USER],
    "name": {"givenName": "Lars", "familyName": "Example"},
    "emails": [{"primary": True, "value": "lars@example.org", "type": "work"}],
    "displayName": "Lars Example",
    "locale": "en-US",
    "externalId": "00ujl29u0le5T6Aj10h7",
    "groups": [],
    "password": "1mz050nq",
    "active": True,
}


@pytest.fixture(scope="module")
def program(service: Service) -> Program:
    return start(service, "directory", "scim:read scim:write")


def make(program: Program, name: str, body: dict[str, Any] = ENTRA) -> str:
    answer = program.ask("POST", "/Users", {**body, "userName": name})
    assert answer.status == 201, answer
    return str(answer.body["id"])


def patch(program: Program, path: str, *operations: dict[str, Any]) -> Any:
    answer = program.ask("PATCH", path, {"schemas": [PATCH], "Operations": [*operations]})
    assert answer.status in (200, 204), answer
    return program.ask("GET", path).body


def test_a_new_person_of_entra(program: Program) -> None:
    found = program.ask("GET", f"/Users/{make(program, 'liselotte')}").body
    assert found["active"] and found["emails"][0]["value"] == "lena@example.org" and ENTERPRISE not in found
    assert found["name"]["familyName"] == "Example"


def test_a_new_person_of_okta(program: Program) -> None:
    """The password is not taken: it would be one that others know."""
    answer = program.ask("GET", f"/Users/{make(program, 'lambert', OKTA)}")
    assert answer.body["displayName"] == "Lars Example" and "1mz050nq" not in str(answer.body)


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "Replace", "path": "active", "value": "False"},  # Entra without its flag
        {"op": "Replace", "path": "active", "value": False},
        {"op": "replace", "value": {"active": False}},  # Okta
        {"op": "replace", "value": {"active": "False"}},
        {"op": "Add", "path": "active", "value": "false"},
        {"op": "Replace", "path": "active", "value": [{"$ref": None, "value": "False"}]},
    ],
)
def test_who_is_switched_off_is_gone(program: Program, operation: dict[str, Any], request: pytest.FixtureRequest) -> None:
    number = request.node.callspec.indices["operation"]
    user = make(program, f"leaver{number}-{request.node.callspec.id[:2].strip('-')}")
    assert patch(program, f"/Users/{user}", operation)["active"] is False


def test_what_is_switched_off_in_one_go_with_what_is_not_known(program: Program) -> None:
    user = make(program, "leopold")
    found = patch(
        program,
        f"/Users/{user}",
        {"op": "Add", "path": f"{ENTERPRISE}:department", "value": "Physics"},
        {"op": "Replace", "path": f"{ENTERPRISE}:manager", "value": "26118915-6090-4610-87e4-49d8ca9f808d"},
        {"op": "Replace", "path": "password", "value": "secret"},
        {"op": "Replace", "value": {"name.givenName": "Leo", f"{ENTERPRISE}:division": "x", "active": "False"}},
    )
    assert found["active"] is False and found["name"]["givenName"] == "Leo"


def test_only_what_is_not_known(program: Program) -> None:
    user = make(program, "lola")
    assert patch(program, f"/Users/{user}", {"op": "Add", "path": f"{ENTERPRISE}:department", "value": "x"})["active"] is True


def test_an_add_by_a_filter_that_finds_nothing_yet(program: Program) -> None:
    user = make(program, "lotte")
    path = 'emails[type eq "home"].value'
    for op, address in (("Add", "home@example.org"), ("Replace", "home2@example.org")):
        found = patch(program, f"/Users/{user}", {"op": op, "path": path, "value": address})
        assert {mail.get("type"): mail["value"] for mail in found["emails"]}["home"] == address
    assert len(found["emails"]) == 2


def test_a_replacement_without_active_leaves_it(program: Program) -> None:
    user = make(program, "lucius")
    body = {"schemas": [USER, ENTERPRISE], "userName": "lucius", "displayName": "Lukas", ENTERPRISE: {"department": "x"}}
    assert program.ask("PUT", f"/Users/{user}", {**body, "password": "x"}).body["active"] is True
    patch(program, f"/Users/{user}", {"op": "Replace", "path": "active", "value": False})
    answer = program.ask("PUT", f"/Users/{user}", body)
    assert answer.status == 200 and answer.body["active"] is False and answer.body["displayName"] == "Lukas"


@pytest.mark.parametrize("shape", ["value", "filter", "many"])
def test_who_is_taken_out_of_a_group_is_out_and_the_others_stay(program: Program, shape: str) -> None:
    people = [make(program, f"group-{shape}-{number}".lower()) for number in range(3)]
    group = {"schemas": [GROUP], "displayName": f"Group {shape}", "members": [{"value": each} for each in people]}
    made = program.ask("POST", "/Groups", group).body["id"]
    gone = people[:2] if shape == "many" else people[:1]
    remove = {"op": "Remove", "path": "members", "value": [{"$ref": None, "value": each} for each in gone]}
    if shape == "filter":
        remove = {"op": "remove", "path": f'members[value eq "{gone[0]}"]'}
    found = patch(program, f"/Groups/{made}", remove)
    assert {each["value"] for each in found["members"]} == set(people) - set(gone)


def test_errors_are_in_words_of_ours(program: Program) -> None:
    user, odd = make(program, "lisbeth"), {"op": "Replace", "path": "active", "value": "perhaps"}
    library = ("pydantic", "http", "validation error", "input_value", "[type=", "Traceback")
    for method, path, body in (
        ("POST", "/Users", {"schemas": [USER], "userName": "x-1", "emails": "none"}),
        ("POST", "/Users", {"schemas": [USER]}),
        ("POST", "/Users", b"{"),
        ("PUT", f"/Users/{user}", {"schemas": [USER], "userName": "other", "active": "perhaps"}),
        ("PATCH", f"/Users/{user}", {"schemas": [PATCH], "Operations": [odd]}),
        ("PATCH", f"/Users/{user}", {"schemas": [PATCH], "Operations": [{"op": "fly", "path": "active", "value": True}]}),
        ("PATCH", f"/Users/{user}", {"schemas": [PATCH], "Operations": "none"}),
    ):
        answer = program.ask(method, path, body)
        assert answer.status == 400 and answer.body["detail"], (method, body, answer)
        assert not [word for word in library if word in answer.body["detail"]], answer
