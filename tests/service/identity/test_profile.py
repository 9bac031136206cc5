"""The WLCG Common JWT Profile 1.x against the real server: groups, storage and compute scopes, audiences, lifetimes."""

from __future__ import annotations

import pytest
from browser import Browser
from issuer import Service, claims

pytestmark = pytest.mark.service
ANY = "https://wlcg.cern.ch/jwt/v1/any"
ONE, TWO, THREE = "https://se1.example.org", "https://se2.example.org:8443", "condor://ce.example.org"


@pytest.fixture(scope="module")
def piroska(service: Service) -> Browser:
    return service.join("piroska", "lab/production", "lab/alarm")[0]


@pytest.fixture(scope="module")
def paulos(service: Service) -> Browser:
    """No batch right, one path to read."""
    return service.join("paulos", "guests")[0]


@pytest.mark.parametrize(
    ("asked", "groups"),
    [
        ("wlcg.groups", ["/lab", "/lab/production"]),
        ("wlcg.groups:/lab/production", ["/lab/production", "/lab"]),
        ("wlcg.groups:/lab/alarm", ["/lab/alarm", "/lab", "/lab/production"]),
        ("wlcg.groups:/lab/alarm wlcg.groups wlcg.groups:/lab", ["/lab/alarm", "/lab", "/lab/production"]),
        ("wlcg.groups wlcg.groups:/lab/alarm", ["/lab", "/lab/production", "/lab/alarm"]),
        ("wlcg.groups:/lab/production wlcg.groups:/guests", ["/lab/production", "/lab"]),
    ],
)
def test_groups_in_the_order_of_the_request(service: Service, piroska: Browser, asked: str, groups: list[str]) -> None:
    answer = service.connect(piroska, scope=f"openid offline_access {asked}")
    body = claims(answer["access_token"])
    assert body["wlcg.groups"] == groups and body["wlcg.ver"] == "1.0"
    assert body["scope"] == answer["scope"] == f"openid offline_access {asked}".replace(" wlcg.groups:/guests", "")
    assert claims(answer["id_token"])["wlcg.groups"] == groups
    assert service.request("/userinfo", bearer=answer["access_token"]).body["wlcg.groups"] == groups
    assert claims(service.refresh(answer["refresh_token"]).body["access_token"])["wlcg.groups"] == groups


def test_a_group_one_is_not_in_is_left_out_and_the_answer_says_so(service: Service, paulos: Browser) -> None:
    answer = service.connect(paulos, scope="openid wlcg.groups:/lab/alarm wlcg.groups:/guests")
    assert answer["scope"] == "openid wlcg.groups:/guests"
    assert claims(answer["access_token"])["wlcg.groups"] == ["/guests"]


@pytest.mark.parametrize("granted", ["wlcg.groups", "wlcg.groups:/guests wlcg.groups:/lab/alarm"])
def test_a_refresh_names_no_group_one_is_not_in(service: Service, paulos: Browser, granted: str) -> None:
    token = service.connect(paulos, scope=f"openid offline_access {granted}")["refresh_token"]
    answer = service.refresh(token, scope="wlcg.groups:/guests wlcg.groups:/lab/production").body
    assert answer.get("scope", "") == "wlcg.groups:/guests", answer
    assert claims(answer["access_token"])["scope"] == "wlcg.groups:/guests"


def test_an_optional_group_is_not_added_at_refresh(service: Service, piroska: Browser) -> None:
    token = service.connect(piroska, scope="openid offline_access wlcg.groups")["refresh_token"]
    answer = service.refresh(token, scope="wlcg.groups:/lab/production wlcg.groups:/lab/alarm").body
    assert claims(answer["access_token"])["wlcg.groups"] == ["/lab/production", "/lab"]
    refused = service.refresh(answer["refresh_token"], scope="wlcg.groups:/lab/alarm")
    assert (refused.status, refused.body["error"]) == (400, "invalid_scope")


def test_to_stage_is_a_right_of_its_own(service: Service, piroska: Browser, paulos: Browser) -> None:
    answer = service.connect(piroska, scope="storage.stage:/ storage.read:/tape/x")
    assert answer["scope"] == "storage.stage:/tape storage.read:/tape/x"
    assert service.connect(paulos, scope="storage.stage:/public storage.read:/")["scope"] == "storage.read:/public"


def test_compute_scopes_for_members_with_a_batch_right(service: Service, piroska: Browser, paulos: Browser) -> None:
    asked = "compute.read compute.create compute.modify compute.cancel"
    assert service.connect(piroska, scope=asked)["scope"] == asked
    assert service.connect(paulos, scope=f"openid {asked}")["scope"] == "openid"


def test_a_version_of_the_profile_may_be_asked_for(service: Service, piroska: Browser) -> None:
    assert service.connect(piroska, scope="wlcg:1.0 wlcg storage.read:/")["scope"] == "wlcg:1.0 wlcg storage.read:/"


def test_resource_beside_audience(service: Service, piroska: Browser) -> None:
    service.do("client", "ensure", "anywhere", "--public", "--grant=device,refresh")
    answer = service.connect(piroska, "anywhere", scope="openid offline_access", resource=ONE)
    assert claims(answer["access_token"])["aud"] == ONE  # a single string where one is asked
    asked = {"resource": TWO, "audience": f"{THREE} {ONE}"}
    answer = service.connect(piroska, "anywhere", scope="openid offline_access", **asked)
    assert claims(answer["access_token"])["aud"] == [TWO, THREE, ONE]  # all that was allowed, in the order of the request
    token = answer["refresh_token"]

    def audience(**form: str | list[str]) -> object:
        nonlocal token
        given = {"grant_type": "refresh_token", "refresh_token": token, "client_id": "anywhere", **form}
        body = service.token(given).body
        token = body["refresh_token"]
        return claims(body["access_token"])["aud"]

    assert audience() == [TWO, THREE, ONE]
    assert audience(resource=TWO) == TWO
    assert audience(resource=[TWO, ONE]) == [TWO, ONE]
    assert audience(resource=[TWO, ONE, TWO], audience=f"{THREE} {ONE}") == [TWO, ONE, THREE]
    assert audience(audience=[THREE, THREE]) == THREE
    assert audience(audience=[THREE, ONE], resource=TWO) == [THREE, ONE, TWO]


@pytest.mark.parametrize("resource", ["se1.example.org", "https://se1.example.org/#x", "/path", "https://[", "https://a b", ""])
def test_a_resource_is_an_absolute_uri(service: Service, piroska: Browser, resource: str) -> None:
    answer = service.request("/device-authorization/", {"client_id": "farmlet", "scope": "openid", "resource": resource})
    if resource:
        assert (answer.status, answer.body["error"]) == (400, "invalid_target")
    else:
        assert answer.status == 200  # a parameter without a value is as good as none (RFC 6749 §3.2)


def test_a_resource_within_the_clients_audiences(service: Service, piroska: Browser) -> None:
    form = {"client_id": "batch", "scope": "openid", "resource": TWO}
    assert service.request("/device-authorization/", form).body["error"] == "invalid_target"
    token = service.connect(piroska, "batch", scope="openid offline_access")["refresh_token"]
    assert service.refresh(token, "batch", resource=TWO).body["error"] == "invalid_target"
    # for anybody is for each storage element of the facility as well
    answer = service.refresh(token, "batch", resource=ONE).body
    token = answer["refresh_token"]
    assert claims(answer["access_token"])["aud"] == ONE
    assert claims(service.refresh(token, "batch", resource=ANY).body["access_token"])["aud"] == ANY


def test_lifetimes_by_client(service: Service, piroska: Browser) -> None:
    public = ("--public", "--grant=device,refresh")
    service.do("client", "ensure", "brief", *public, "--access-lifetime=120")
    answer = service.connect(piroska, "brief", scope="openid offline_access")
    body = claims(answer["access_token"])
    assert answer["expires_in"] == 120 and body["exp"] - body["iat"] == 120 + 6  # for clocks that are behind
    service.do("client", "ensure", "long", *public, "--access-lifetime=999999")
    assert service.connect(piroska, "long", scope="openid")["expires_in"] == 600  # never above the facility's


@pytest.mark.parametrize(
    "scope",
    [
        "storage.read:/data/../users/bob",
        "storage.read:/data//x",
        "storage.read:/%2e%2e/etc",
        "storage.read:/.",
        "storage.read:data",
        "storage.read:",
        "storage.read",
        "storage.read:/\u00e4",
        'storage.read:/a"b',
        "storage.read:/a\\b",
        "storage.read:/a\u0000b",
        "wlcg.groups:lab",
        "wlcg.groups:/lab/..",
        "wlcg.groups://lab",
        "wlcg.groups:/lab%2falarm",
        "wlcg.groups:/LAB",
        "wlcg.groups:/lab'--",
        "wlcg.groups:/*)(uid=*",
        "compute.create:/x",
        "scim:write",
    ],
)
def test_odd_scopes_are_never_granted(service: Service, piroska: Browser, scope: str) -> None:
    refused = service.request("/device-authorization/", {"client_id": "farmlet", "scope": scope})
    assert (refused.status, refused.body["error"]) == (400, "invalid_scope")
    assert service.connect(piroska, scope=f"openid {scope}")["scope"] == "openid"
