"""SCIM 2.0, writing: registration, suspension, removal, groups; against the real server."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from browser import Browser
from issuer import PASSWORD, Service
from scim import GROUP, INDIGO_USER, OURS, USER, Program, start

pytestmark = pytest.mark.service


@pytest.fixture(scope="module")
def program(service: Service) -> Program:
    return start(service, "provision", "scim:read scim:write")


def cursor(program: Program) -> int:
    return int(program.ask("GET", "/changes").body["cursor"])


def changed(program: Program, since: int) -> list[str]:
    found: list[str] = program.ask("GET", "/changes", cursor=str(since)).body["changed"]
    return found


def make_group(program: Program, name: str, *members: str) -> dict[str, Any]:
    body = {"schemas": [GROUP], "displayName": name, "members": [{"value": member} for member in members]}
    answer = program.ask("POST", "/Groups", body)
    assert answer.status == 201, answer
    made: dict[str, Any] = answer.body
    return made


def test_registration(service: Service, program: Program) -> None:
    before = cursor(program)
    created = program.register("olga", displayName="Olga Example", emails=[{"value": "olga@example.org"}])
    assert created["active"] and created[OURS]["state"] == "active" and created[OURS]["uidNumber"] >= 20000
    assert changed(program, before) == [created["id"]]
    assert [(line["event"], line["by"]) for line in service.member("history", "olga")] == [("member.added", "client provision")]
    link = created[OURS]["join"]
    assert "join" not in program.ask("GET", f"/Users/{created['id']}").body[OURS]
    browser = Browser(service.cafile)
    assert "Logged in as olga" in browser.submit(browser.open(link), new_password1=PASSWORD, new_password2=PASSWORD).text


@pytest.mark.parametrize(
    ("username", "name"),
    [
        ("Otto.Grün@example.org", "otto-grun"),
        ("12345678-1234-1234-1234-123456789012", "u12345678-1234-1234-1234-123456"),
        ("Daemon", "daemon2"),  # a name of the system
        ("lab/production", "lab-production2"),  # the UNIX name of a group
        ("ОЛЬГА", "member"),
        ("x' OR '1'='1", "x-or-1-1"),
        ("*)(uid=*", "uid"),
    ],
)
def test_unix_names_are_derived(program: Program, username: str, name: str) -> None:
    created = program.register(username)
    assert created["userName"] == username and created[OURS]["name"] == name
    assert [user["id"] for user in program.find("Users", f"userName eq {json.dumps(username.upper())}")] == [created["id"]]
    again = program.ask("POST", "/Users", {"schemas": [USER], "userName": username.swapcase()})
    assert again.status == 409 and again.body["scimType"] == "uniqueness"
    assert program.register(f"{username}!")[OURS]["name"].startswith(name[:4])


@pytest.mark.parametrize("username", ["root", "lab-production", "", " ", "a\nb", "x" * 201, "a\u0000b", None, 5, ["a"]])
def test_impossible_usernames(program: Program, username: Any) -> None:
    answer = program.ask("POST", "/Users", {"schemas": [USER], "userName": username})
    assert answer.status == 400 and answer.body["scimType"], answer


def test_suspension_and_approval(service: Service, program: Program) -> None:
    browser, _ = service.join("pia")
    refresh = service.connect(browser)["refresh_token"]
    (user,) = program.find("Users", 'userName eq "pia"')
    path, before = f"/Users/{user['id']}", cursor(program)
    assert program.patch(path, {"op": "replace", "path": "active", "value": False}).status == 204
    assert program.ask("GET", path).body[OURS]["state"] == "suspended"
    assert service.refresh(refresh).body["error"] == "invalid_grant"
    assert program.patch(path, {"op": "replace", "value": {"active": True}}).status == 204
    assert program.patch(path, {"op": "replace", "value": {"active": True}}).status == 204  # nothing left to do
    assert changed(program, before) == [user["id"]]
    told = [(line["event"], line.get("by")) for line in service.member("history", "pia")]
    assert told[-2:] == [("member.suspended", "client provision"), ("member.active", "client provision")]
    pending = program.register("pauline", active=False)
    assert pending[OURS]["state"] == "pending"
    program.patch(f"/Users/{pending['id']}", {"op": "replace", "path": "active", "value": True})
    assert program.ask("GET", f"/Users/{pending['id']}").body[OURS]["state"] == "active"


def test_removal_is_for_good(service: Service, program: Program) -> None:
    created = program.register("quirin")
    path, before = f"/Users/{created['id']}", cursor(program)
    assert program.ask("DELETE", path).status == 204
    assert program.ask("GET", path).status == program.ask("DELETE", path).status == 404
    assert program.find("Users", 'userName eq "quirin"') == []
    assert changed(program, before) == [created["id"]]
    assert program.ask("POST", "/Users", {"schemas": [USER], "userName": "Quirin"}).status == 409
    assert service.member("show", "quirin")["state"] == "removed"


def test_replacement_keeps_what_has_no_column(program: Program) -> None:
    created = program.register("ricarda", title="Dr", **{INDIGO_USER: {"sshKeys": [{"display": "k", "value": "ssh-ed25519 A"}]}})
    path = f"/Users/{created['id']}"
    body = program.ask("GET", path).body
    body |= {"title": "Prof", "nickName": "R", "phoneNumbers": [{"value": "+49 1", "type": "work"}], "externalId": "7"}
    body[OURS] = {"uidNumber": 0, "state": "removed", "scopes": ["storage.modify:/"]}  # read-only: not heard
    answer = program.ask("PUT", path, body)
    assert answer.status == 200, answer
    assert {name: answer.body[name] for name in ("title", "nickName", "externalId")} == {
        "title": "Prof",
        "nickName": "R",
        "externalId": "7",
    }
    assert answer.body[INDIGO_USER]["sshKeys"][0]["value"] == "ssh-ed25519 A"
    assert answer.body[OURS] == {name: value for name, value in created[OURS].items() if name != "join"}
    short = program.ask("PUT", path, {"schemas": [USER], "userName": "ricarda"})
    assert short.status == 200 and short.body["active"] is True and "nickName" not in short.body
    bare = program.ask("PUT", path, {"schemas": [USER], "userName": "ricarda", "active": True}).body
    assert not {"title", "nickName", "externalId", "phoneNumbers", INDIGO_USER} & set(bare)


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "replace", "path": "userName", "value": "sam"},
        {"op": "replace", "value": {"userName": "sam"}},
        {"op": "remove", "path": "userName"},
        {"op": "remove", "path": "active"},
        {"op": "replace", "path": "id", "value": "x"},
        {"op": "replace", "path": f"{OURS}:uidNumber", "value": 0},
        {"op": "add", "path": "groups", "value": [{"value": "x"}]},
        {"op": "replace", "path": "meta.created", "value": "2020-01-01T00:00:00Z"},
        {"op": "replace", "path": f"{INDIGO_USER}:endTime", "value": "2020-01-01T00:00:00Z"},
        {"op": "replace", "path": "shoeSize", "value": 5},
        {"op": "replace", "path": "emails[", "value": "x"},
        {"op": "replace", "path": "__class__", "value": "x"},
        {"op": "replace", "path": "../Groups", "value": "x"},
        {"op": "destroy", "path": "nickName"},
        {"op": "replace", "path": "displayName", "value": "x" * 201},
        {"op": "replace", "path": "displayName", "value": "a\u0000b"},
        {"op": "replace", "path": "emails", "value": [{"value": "no address"}]},
        {"op": "replace", "path": "active", "value": "perhaps"},
    ],
)
def test_what_no_patch_does(program: Program, operation: dict[str, Any]) -> None:
    found = program.find("Users", 'userName eq "susi"')
    before = program.ask("GET", f"/Users/{(found[0] if found else program.register('susi'))['id']}").body
    answer = program.patch(f"/Users/{before['id']}", {"op": "replace", "path": "nickName", "value": "S"}, operation)
    assert answer.status == 400 and answer.body["scimType"], answer
    assert program.ask("GET", f"/Users/{before['id']}").body == before  # not even the operation before it


def test_passwords_are_no_business_of_scim(service: Service, program: Program) -> None:
    """They are passed over: programs send them with what counts."""
    answer = program.ask("POST", "/Users", {"schemas": [USER], "userName": "tomas", "password": PASSWORD})
    assert answer.status == 201 and PASSWORD not in json.dumps(answer.body)
    path = f"/Users/{answer.body['id']}"
    words = {"op": "replace", "path": "password", "value": PASSWORD}
    assert program.patch(path, {"op": "replace", "path": "nickName", "value": "T"}, words).status == 204
    assert program.ask("GET", path).body["nickName"] == "T"
    ((stored,),) = service.execute("SELECT password FROM identity_member WHERE name = 'tomas'")
    assert stored == "" or stored.startswith("!")  # so Django marks who has none


def test_an_address_of_another_kind_is_added(program: Program) -> None:
    """As Entra ID sets one that is not there yet."""
    user = program.register("tilman")
    words = {"op": "replace", "path": 'emails[type eq "none"].value', "value": "a@example.org"}
    assert program.patch(f"/Users/{user['id']}", words).status == 204
    assert program.ask("GET", f"/Users/{user['id']}").body["emails"][-1]["value"] == "a@example.org"


def test_group_of_the_facility_file(service: Service, program: Program) -> None:
    (lab,) = program.find("Groups", 'displayName eq "lab"')
    ute = program.register("ute")
    path, before = f"/Groups/{lab['id']}", cursor(program)
    added = {"op": "add", "path": "members", "value": [{"value": ute["id"], "display": "whatever"}]}
    assert program.patch(path, added).status == 204
    user = program.ask("GET", f"/Users/{ute['id']}").body
    assert [group["path"] for group in user[OURS]["groups"]] == ["lab"] and "storage.read:/" in user[OURS]["scopes"]
    assert changed(program, before) == [ute["id"]]
    assert program.patch(path, added).status == 204 and cursor(program) == before + 1  # once is enough
    assert program.patch(path, {"op": "remove", "path": f'members[value eq "{ute["id"]}"]'}).status == 204
    assert program.ask("GET", f"/Users/{ute['id']}").body[OURS]["groups"] == []
    told = [(line["event"], line.get("group"), line["by"]) for line in service.member("history", "ute")][1:]
    assert told == [("group.joined", "lab", "client provision"), ("group.left", "lab", "client provision")]
    renamed = program.patch(path, {"op": "replace", "path": "displayName", "value": "lab2"})
    assert renamed.status == 400 and renamed.body["scimType"] == "mutability" and "facility file" in renamed.body["detail"]
    refused = program.ask("DELETE", path)
    assert refused.status == 403 and "facility file" in refused.body["detail"]
    assert program.ask("POST", "/Groups", {"schemas": [GROUP], "displayName": "LAB"}).status == 409


def test_group_made_by_a_program(service: Service, program: Program) -> None:
    verena = program.register("verena")
    made = make_group(program, "Shift Crew 2026", verena["id"])
    path = f"/Groups/{made['id']}"
    user = program.ask("GET", f"/Users/{verena['id']}").body
    assert [group["display"] for group in user["groups"]] == ["Shift Crew 2026"]
    assert user[OURS]["groups"] == [] and user[OURS]["scopes"] == []  # no rights, no UNIX group
    assert "Shift Crew" not in service.run("groups", "ensure").stderr
    assert program.patch(path, {"op": "replace", "path": "displayName", "value": "Night Crew"}).status == 204
    assert program.ask("GET", path).body["displayName"] == "Night Crew"
    assert program.ask("POST", "/Groups", {"schemas": [GROUP], "displayName": "night crew"}).status == 409
    stranger = {"op": "add", "path": "members", "value": [{"value": "00000000-0000-0000-0000-000000000000"}]}
    assert program.patch(path, stranger).body["scimType"] == "invalidValue"
    before = cursor(program)
    assert program.ask("DELETE", path).status == 204
    assert program.ask("GET", path).status == 404 and changed(program, before) == [verena["id"]]
    assert "groups" not in program.ask("GET", f"/Users/{verena['id']}").body
    assert make_group(program, "Shift Crew 2026")["id"] != made["id"]
    # where a member's name stands in the way, another path is taken
    assert make_group(program, "Vera")["displayName"] == "Vera"
    assert program.ask("POST", "/Groups", {"schemas": [GROUP], "displayName": "verena"}).status == 409


def test_members_who_join_at_once_all_join(program: Program) -> None:
    users = [program.register(f"walter{number}")["id"] for number in range(6)]
    path = f"/Groups/{make_group(program, 'Walters')['id']}"

    def join(user: str) -> int:
        return program.patch(path, {"op": "add", "path": "members", "value": [{"value": user}]}).status

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(join, users)) == [204] * 6
    assert {member["value"] for member in program.ask("GET", path).body["members"]} == set(users)


@pytest.mark.once
@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b'{"userName": "\\ud800"}', b"[" * 100000, b'{"a":' * 50000],
)
def test_broken_bodies(program: Program, body: bytes) -> None:
    for method, path in (("POST", "/Users"), ("POST", "/Groups"), ("POST", "/Bulk"), ("POST", "/.search")):
        assert program.ask(method, path, body).status == 400, (method, path)


@pytest.mark.once
def test_large_bodies(program: Program) -> None:
    body = {"schemas": [USER], "userName": "xaver", "displayName": "x" * 2**20}
    answer = program.ask("POST", "/Users", body)
    assert answer.status == 413 and answer.body["status"] == "413"
    assert program.ask("POST", "/Users", {"schemas": [USER], "userName": "xaver", "title": "x" * 100000}).status == 201


@pytest.mark.once
def test_other_content_and_methods(program: Program) -> None:
    body = json.dumps({"schemas": [USER], "userName": "yara"}).encode()
    assert program.ask("POST", "/Users", body, {"Content-Type": "text/xml"}).status == 415
    assert program.ask("PATCH", "/Users", {}).status == 405 and program.ask("BREW", "/Users").status == 405
    unknown = program.ask("POST", "/Users", {"schemas": [USER], "userName": "yara", "shoeSize": 38})
    assert unknown.status == 400 and "shoeSize" in unknown.body["detail"]


def test_bulk(program: Program) -> None:
    operations = [
        {"method": "POST", "path": "/Users", "bulkId": "z", "data": {"schemas": [USER], "userName": "zita"}},
        {"method": "POST", "path": "/Users", "bulkId": "again", "data": {"schemas": [USER], "userName": "zita", "active": True}},
        {
            "method": "POST",
            "path": "/Groups",
            "bulkId": "g",
            "data": {"schemas": [GROUP], "displayName": "Bulk", "members": [{"type": "User", "value": "bulkId:z"}]},
        },
    ]
    request = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"], "Operations": operations}
    answer = program.ask("POST", "/Bulk", request)
    assert [operation["status"] for operation in answer.body["Operations"]] == ["201", "409", "201"], answer
    (group,) = program.find("Groups", 'displayName eq "bulk"')
    assert len(group["members"]) == 1
