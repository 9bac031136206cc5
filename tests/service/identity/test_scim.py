"""SCIM 2.0, reading: filters, pages, versions, `/Me`, INDIGO's paths, and what is refused; against the real server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from browser import Browser
from issuer import Service
from scim import GROUP, INDIGO_USER, OURS, USER, Program, start

from farmlet.parts.identity.service.django import wsgi

pytestmark = pytest.mark.service


@pytest.fixture(scope="module")
def program(service: Service) -> Program:
    return start(service, "reading", "scim:read scim:write")


@pytest.fixture(scope="module")
def mila(service: Service) -> Browser:
    return service.join("mila", "lab/production")[0]


@pytest.fixture(scope="module")
def nora(program: Program) -> dict[str, Any]:
    """Registered by a userName that is no UNIX name."""
    return program.register(
        "Nora.Čapek@example.org",
        externalId="HR-7",
        displayName="Nora Čapek",
        name={"givenName": "Nora", "familyName": "Čapek"},
        emails=[{"value": "nora@example.org", "type": "work", "primary": True}, {"value": "nc@example.org"}],
        **{INDIGO_USER: {"labels": [{"name": "shifts", "value": "night"}]}},
    )


def test_lists_and_single_resources_are_the_same(program: Program, nora: dict[str, Any], mila: Browser) -> None:
    for kind in ("Users", "Groups"):
        for listed in program.ask("GET", f"/{kind}").body["Resources"]:
            single = program.ask("GET", f"/{kind}/{listed['id']}")
            assert single.body == listed
            assert single.headers["ETag"] == listed["meta"]["version"]
            assert single.headers["Content-Type"] == "application/scim+json"


def test_an_address_that_is_none_is_told_by_no_list(service: Service, program: Program) -> None:
    """Set by hand in the database: it costs that attribute, in a list as for the member alone."""
    found = program.register("olaf", emails=[{"value": "olaf@example.org"}])
    service.execute(f"UPDATE identity_member SET email = 'olaf@localhost', extra = '{{}}' WHERE name = '{found[OURS]['name']}'")
    single = program.ask("GET", f"/Users/{found['id']}").body
    assert "emails" not in single
    assert program.find("Users", 'userName eq "olaf"') == [single]
    service.execute("UPDATE identity_member SET email = 'olaf@example.org' WHERE name = 'olaf'")


def test_member_has_what_accounts_need(program: Program, mila: Browser) -> None:
    (user,) = program.find("Users", 'userName eq "mila"')
    ours = user[OURS]
    assert ours["name"] == "mila" and ours["state"] == "active" and ours["kind"] == "person"
    assert ours["uidNumber"] == ours["gidNumber"] >= 20000
    assert [(group["path"], group["name"]) for group in ours["groups"]] == [("lab", "lab"), ("lab/production", "lab-production")]
    assert "storage.modify:/users/mila" in ours["scopes"]
    groups = {group["display"]: group for group in user["groups"]}
    assert groups["lab"]["type"] == "indirect" and groups["lab/production"]["type"] == "direct"
    group = program.ask("GET", f"/Groups/{groups['lab/production']['value']}").body
    assert group["meta"]["location"] == groups["lab/production"]["$ref"]
    assert user["id"] in [member["value"] for member in group["members"]]
    assert group["urn:indigo-dc:scim:schemas:IndigoGroup"]["parentGroup"]["value"] == groups["lab"]["value"]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('userName eq "NORA.Čapek@EXAMPLE.org"', ["nora-capek"]),
        ('externalId eq "HR-7"', ["nora-capek"]),
        ('externalId eq "hr-7"', []),
        ('active eq true and (userName eq "MILA" or externalId eq "HR-7")', ["mila", "nora-capek"]),
        ('active eq false and userName eq "mila"', []),
        ('not (active eq false) and externalId eq "HR-7"', ["nora-capek"]),
        ('emails.value eq "NC@example.org"', ["nora-capek"]),
        ('emails[type eq "work" and value co "nora@"]', ["nora-capek"]),
        ('name.familyName eq "čapek" and active eq true', ["nora-capek"]),
        (f'{OURS}:name eq "nora-capek"', ["nora-capek"]),
        (f'{INDIGO_USER}:labels.value eq "night"', ["nora-capek"]),
        ('externalId pr and userName sw "nora"', ["nora-capek"]),
    ],
)
def test_filters(program: Program, nora: dict[str, Any], mila: Browser, text: str, names: list[str]) -> None:
    assert sorted(user[OURS]["name"] for user in program.find("Users", text)) == names


def test_filters_of_groups(program: Program, mila: Browser) -> None:
    assert [group["displayName"] for group in program.find("Groups", 'displayName eq "LAB/Production"')] == ["lab/production"]
    (user,) = program.find("Users", 'userName eq "mila"')
    assert [group["displayName"] for group in program.find("Groups", f'members.value eq "{user["id"]}"')] == ["lab/production"]
    both = program.ask("GET", "/", filter=f'id eq "{user["id"]}" or displayName eq "lab"').body
    assert {found["meta"]["resourceType"] for found in both["Resources"]} == {"User", "Group"}


@pytest.mark.parametrize(
    "value",
    [
        "x' OR '1'='1",
        'x\\" or userName pr or userName eq \\"',
        "mi%",
        "mil_",
        "*",
        "*)(uid=*",
        "mila\\u0000",
        "mila;--",
        "\\\\",
        "ﬀ",
        "",
    ],
)
def test_filters_are_not_injected(program: Program, mila: Browser, value: str) -> None:
    for attribute in ("userName", "id", "externalId", "emails.value", f"{OURS}:name", "displayName"):
        answer = program.ask("GET", "/Users", filter=f'{attribute} eq "{value}"')
        assert answer.body.get("scimType") == "invalidFilter" or answer.body["totalResults"] == 0, (attribute, answer)


@pytest.mark.once
@pytest.mark.parametrize(
    "text", ["userName eq", 'userName zz "x"', 'shoeSize eq "1"', "(((", "userName eq 5", "not", "a" * 3000, "(" * 900]
)
def test_bad_filters_are_named(program: Program, text: str) -> None:
    answer = program.ask("GET", "/Users", filter=text)
    assert answer.status == 400 and answer.body["scimType"] in ("invalidFilter", "invalidValue", "invalidPath"), answer


def test_pages(program: Program, mila: Browser, nora: dict[str, Any]) -> None:
    whole = program.ask("GET", "/Users").body
    total = whole["totalResults"]
    walked = [
        program.ask("GET", "/Users", startIndex=str(at), count="1").body["Resources"][0]["id"] for at in range(1, total + 1)
    ]
    assert walked == [user["id"] for user in whole["Resources"]]
    beyond = program.ask("GET", "/Users", startIndex=str(total + 1)).body
    assert beyond["totalResults"] == total and beyond["Resources"] == [] and beyond["itemsPerPage"] == 0
    assert program.ask("GET", "/Users", startIndex="-3").body["startIndex"] == 1
    for count in ("0", "-5"):  # RFC 7644 §3.4.2.4: a negative count is 0
        assert program.ask("GET", "/Users", count=count).body | {"Resources": []} == beyond | {"startIndex": 1}
    assert program.ask("GET", "/Users", count="9" * 30).status in (200, 400)
    assert program.ask("GET", "/Users", startIndex="9" * 17).status in (200, 400)
    assert program.ask("GET", "/Users", count="many").status == 400


@pytest.mark.once
def test_sorting_and_choice_of_attributes(program: Program, mila: Browser, nora: dict[str, Any]) -> None:
    found = program.ask("GET", "/Users", sortBy="userName", sortOrder="descending", attributes="userName").body["Resources"]
    names = [user["userName"].lower() for user in found]
    assert names == sorted(names, reverse=True) and all(set(user) == {"schemas", "id", "userName"} for user in found)
    assert "emails" not in program.ask("GET", f"/Users/{nora['id']}", excludedAttributes="emails").body
    searched = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:SearchRequest"], "filter": 'userName eq "mila"'}
    assert program.ask("POST", "/Users/.search", searched).body["totalResults"] == 1


@pytest.mark.parametrize("asked", [{"attributes": f"userName,emails.value,{OURS}:uidNumber"}, {"excludedAttributes": "groups"}])
def test_lists_with_some_attributes_are_as_single_resources(program: Program, mila: Browser, asked: dict[str, str]) -> None:
    (listed,) = program.ask("GET", "/Users", filter='userName eq "mila"', **asked).body["Resources"]
    assert listed == program.ask("GET", f"/Users/{listed['id']}", **asked).body
    assert listed["userName"] == "mila" and "groups" not in listed


@pytest.mark.once
def test_a_start_does_not_wait_for_the_models(service: Service) -> None:
    code = (
        "import sys; from farmlet.parts.identity.service.django import wsgi; wsgi.build()\n"
        "from django.urls import get_resolver; assert get_resolver().url_patterns\n"
        "sys.exit('scim2_models' in sys.modules)"
    )
    environment = {**os.environ, wsgi.VARIABLE: str(service.config)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=60)


def test_versions(program: Program, nora: dict[str, Any]) -> None:
    path = f"/Users/{nora['id']}"
    tag = program.ask("GET", path).headers["ETag"]
    assert program.ask("GET", path, headers={"If-None-Match": tag}).status == 304
    change = {"op": "replace", "path": "nickName", "value": "No"}
    assert program.patch(path, change, headers={"If-Match": 'W/"old"'}).status == 412
    assert program.patch(path, change, headers={"If-Match": tag}).status == 204
    assert program.ask("GET", path).headers["ETag"] != tag
    assert program.ask("DELETE", path, headers={"If-Match": tag}).status == 412
    assert program.ask("GET", path).body["nickName"] == "No"


def test_scopes(service: Service, program: Program, mila: Browser) -> None:
    reader, writer = start(service, "reader", "scim:read"), start(service, "writer", "scim:write")
    body = {"schemas": [USER], "userName": "nobody"}
    assert reader.ask("GET", "/Users").status == 200 and reader.ask("POST", "/Users", body).status == 403
    assert reader.ask("POST", "/Bulk", {"schemas": [], "Operations": []}).status in (400, 403)
    for method in ("PUT", "PATCH", "DELETE"):
        assert reader.ask(method, "/Users/00000000-0000-0000-0000-000000000000", {}).status == 403
    assert writer.ask("GET", "/Users").status == 403 and writer.ask("GET", "/Groups").status == 403
    missing = replace(program, token="").ask("GET", "/Users")
    assert missing.status == 401 and missing.headers["WWW-Authenticate"].startswith("Bearer")
    # a member's token never does, whatever their rights
    token = service.do("token", "--as=mila", "--scope=openid scim:read", "--reason=test", "--by=ada").strip()
    assert replace(program, token=token).ask("GET", "/Users").status == 403
    # what is taken from a client holds for the tokens it has
    service.register("reader", "--grant=client_credentials", "--scope=other")
    assert reader.ask("GET", "/Users").status == 403


def test_me(service: Service, program: Program, mila: Browser) -> None:
    def token(scope: str) -> str:
        return service.do("token", "--as=mila", f"--scope={scope}", "--reason=test", "--by=ada").strip()

    for base in ("/scim/v2", "/scim"):
        me = replace(program, token=token("openid profile email"), base=base)
        body = me.ask("GET", "/Me").body
        assert body["userName"] == "mila" and body["displayName"] == "Mila" and body["active"]
        assert me.ask("PATCH", "/Me", {}).status == me.ask("DELETE", "/Me").status == 403
        assert me.ask("GET", "/Users").status == 403
    assert "displayName" not in replace(program, token=token("openid")).ask("GET", "/Me").body
    assert replace(program, token=token("profile")).ask("GET", "/Me").status == 403
    assert program.ask("GET", "/Me").status == 403  # a program is nobody


def test_indigo(service: Service, program: Program, mila: Browser) -> None:
    iam = replace(program, base="/scim")
    answer = iam.ask("GET", "/Users", count="1000")
    assert answer.headers["Content-Type"] == "application/scim+json;charset=UTF-8"
    assert iam.ask("GET", "/ServiceProviderConfig").body["filter"]["maxResults"] == 100
    (user,) = iam.find("Users", 'userName eq "mila"')
    assert user["meta"]["location"] == f"{service.issuer}/scim/Users/{user['id']}"
    (group,) = iam.find("Groups", 'displayName eq "lab"')
    below = iam.ask("GET", f"/Groups/{group['id']}/subgroups").body["Resources"]
    assert {other["display"] for other in below} == {"lab/alarm", "lab/production", "lab/shift"}
    members = iam.ask("GET", f"/Groups/{group['id']}/members").body
    pages = [iam.ask("GET", f"/Groups/{group['id']}/members", startIndex=str(1 + 100 * number)).body for number in range(5)]
    everybody = [one for page in pages for one in page["Resources"]]  # a hundred a page, at most
    assert {"value": user["id"], "$ref": user["meta"]["location"], "type": "User", "display": "mila"} in everybody
    page = iam.ask("GET", f"/Groups/{group['id']}/members", startIndex="2", count="1").body
    assert page["Resources"] == members["Resources"][1:2] and page["totalResults"] == members["totalResults"]
    assert iam.ask("GET", "/Groups/none/members").status == 404
    assert replace(iam, token="").ask("GET", f"/Groups/{group['id']}/members").status == 401


@pytest.mark.once
def test_discovery_needs_no_token(program: Program) -> None:
    stranger = replace(program, token="")
    kinds = {kind["name"] for kind in stranger.ask("GET", "/ResourceTypes").body["Resources"]}
    schemas = {schema["id"] for schema in stranger.ask("GET", "/Schemas").body["Resources"]}
    assert kinds == {"User", "Group"} and {USER, GROUP, OURS, INDIGO_USER} <= schemas
    assert "password" not in json.dumps(stranger.ask("GET", f"/Schemas/{USER}").body["attributes"])


@pytest.mark.once
@pytest.mark.parametrize(
    "path", ["/Users/nobody", "/Users/../Groups", "/Users/%00", "/Users/a/b/c", "/Shoes", "/Groups/*", "/Users/\x00"]
)
def test_strange_paths_are_not_found(program: Program, path: str) -> None:
    assert program.ask("GET", path).status in (400, 404)
