"""Service members: tokens by client credentials, their end, their owners; and who did what in the audit log."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from browser import Browser
from issuer import PASSWORD, Service, claims, write_config

from farmlet.runtime import audit
from farmlet.runtime.oauth import OAuthError, Tokens, obtain
from farmlet.runtime.tokens import Verifier

pytestmark = pytest.mark.service
ANY = "https://wlcg.cern.ch/jwt/v1/any"
STORE = "https://se.example.org"


def member(service: Service, verb: str, *words: str) -> dict[str, Any]:
    return dict(service.member(verb, *words, "--by=ada"))


def hire(service: Service, name: str, owner: str, *words: str) -> dict[str, Any]:
    return member(service, "add", name, "--service", f"--owner={owner}", *words)


def get(service: Service, made: dict[str, Any], scope: str, audience: str = "") -> Tokens:
    return obtain(service.issuer, made["client_id"], made["client_secret"], scope, service.cafile, audience=audience)


@pytest.fixture(scope="module")
def crew(service: Service) -> Browser:
    """Nina, on the night shift."""
    return service.join("nina", "crew/night")[0]


@pytest.fixture(scope="module")
def prod(service: Service, crew: Browser) -> dict[str, Any]:
    return hire(service, "prod", "crew/night", "--group=crew/night", "--title=Night production")


def set_end(service: Service, name: str, moment: str, updated: str = "2020-01-01 00:00:00") -> None:
    """The clock, for one member: nothing but time makes an end pass."""
    service.python(
        f"assert Member.objects.filter(name={name!r}).update(expires={moment + 'Z'!r}, updated={updated + 'Z'!r}) == 1",
    )


def test_tokens_of_a_service_member(service: Service, prod: dict[str, Any]) -> None:
    tokens = get(service, prod, "storage.modify:/ storage.read:/night/run1 wlcg.groups offline_access scim:read", STORE)
    found = Verifier(service.issuer, STORE, service.cafile).verify(tokens.access_token)
    assert found.sub == prod["sub"] and found.username == "prod" and found.client_id == "service-prod"
    assert found.scopes == {"storage.modify:/crew", "storage.modify:/night", "storage.read:/night/run1", "wlcg.groups"}
    assert found.groups == ("/crew", "/crew/night")
    assert not tokens.refresh_token
    # without a wish it gets its storage, and no groups: a service is to decide by scopes or by groups, never both
    usual = claims(get(service, prod, "").access_token)
    assert "storage.modify:/night" in usual["scope"].split() and "wlcg.groups" not in usual
    with pytest.raises(OAuthError, match="invalid_scope"):
        get(service, prod, "storage.modify:/data")


def test_a_service_member_is_known_at_userinfo_but_has_no_id_token(service: Service, prod: dict[str, Any]) -> None:
    form = {"grant_type": "client_credentials", "scope": "openid profile"}
    body = service.token(form, basic=f"{prod['client_id']}:{prod['client_secret']}").body
    assert "id_token" not in body
    found = service.request("/userinfo", bearer=body["access_token"]).body
    assert (found["preferred_username"], found["name"]) == ("prod", "Night production")


def test_a_service_member_never_logs_in(service: Service, prod: dict[str, Any]) -> None:
    browser = Browser(service.cafile)
    for password in (prod["client_secret"], PASSWORD):
        page = browser.submit(browser.open(f"{service.issuer}/login/"), username="prod", password=password)
        assert "Wrong name or password" in page.text
    assert "join" not in prod
    for audience in ("ssh", f"{ANY} ssh", "ssh_head.farmlet.test"):
        with pytest.raises(OAuthError, match="invalid_target"):
            get(service, prod, "openid", audience)
    basic = f"{prod['client_id']}:{prod['client_secret']}"
    answer = service.request("/device-authorization/", {"client_id": prod["client_id"]}, basic=basic)
    assert answer.body["error"] == "unauthorized_client"


def test_scopes_and_audiences_of_its_client(service: Service, crew: Browser) -> None:
    words = ("--group=crew", "--scope=storage.read:/crew/raw wlcg.groups", f"--audience={STORE}", "--expires=2099-12-31")
    made = hire(service, "picker", "crew", *words)
    assert made["expires"].startswith("2099-12-31T23:59:59")
    assert get(service, made, "storage.read:/ storage.modify:/crew", STORE).scope == "storage.read:/crew/raw"
    with pytest.raises(OAuthError, match="invalid_target"):
        get(service, made, "storage.read:/", ANY)
    taken = service.run("client", "ensure", "service-picker", "--public")
    assert taken.returncode == 2 and "belongs to the service member picker" in taken.stderr


def test_a_new_secret_ends_the_old_one(service: Service, crew: Browser) -> None:
    old = hire(service, "calib", "crew", "--group=crew")
    new = member(service, "secret", "calib")
    assert new["client_id"] == old["client_id"] and new["residual"] == 600
    assert get(service, new, "storage.read:/crew").access_token
    with pytest.raises(OAuthError, match="invalid_client"):  # the new one told the service, else it takes it 5 s
        get(service, old, "storage.read:/crew")
    files = [*(service.folder / "db").iterdir(), service.folder / "gunicorn.log"]
    kept = b"".join(path.read_bytes() for path in files)
    assert old["client_secret"].encode() not in kept and new["client_secret"].encode() not in kept


def test_suspension_removal_and_return(service: Service, crew: Browser) -> None:
    made = hire(service, "spare", "crew", "--group=crew")
    member(service, "suspend", "spare")
    with pytest.raises(OAuthError, match="unauthorized_client: its service member is suspended"):
        get(service, made, "storage.read:/crew")
    member(service, "resume", "spare")
    assert get(service, made, "storage.read:/crew")
    member(service, "remove", "spare")
    with pytest.raises(OAuthError, match=r"invalid_client|its service member is removed"):  # by how long it knows the client
        get(service, made, "storage.read:/crew")
    assert "is removed" in service.run("member", "resume", "spare").stderr
    for words in (("secret", "spare"), ("extend", "spare", "2099-01-01"), ("give", "spare", "--owner=lab")):
        assert "is removed" in service.run("member", *words).stderr
    again = service.run("member", "add", "spare", "--service", "--owner=crew", "--group=crew")
    assert again.returncode == 2 and "never given again" in again.stderr


def test_an_expired_member_gets_nothing_and_is_announced_once(service: Service, crew: Browser) -> None:
    made = hire(service, "yearly", "crew", "--group=crew")
    access = get(service, made, "openid").access_token
    set_end(service, "yearly", "2020-06-01 00:00:00")
    with pytest.raises(OAuthError, match="unauthorized_client: its service member is expired"):
        get(service, made, "storage.read:/crew")
    assert service.request("/userinfo", bearer=access).status == 401
    reader = service.read_token()
    cursor = service.request("/scim/v2/changes", bearer=reader).body["cursor"]
    assert member(service, "expire", "--json") == {"expired": ["yearly"]}
    assert member(service, "expire", "--json") == {"expired": []}
    assert service.request(f"/scim/v2/changes?cursor={cursor}", bearer=reader).body["changed"] == [made["sub"]]
    shown = scim(service, made["sub"])
    assert not shown["active"] and shown["urn:farmlet:scim:User"]["state"] == "expired"
    assert "expired on 2020-06-01" in service.run("member", "approve", "yearly").stderr
    assert member(service, "extend", "yearly", "2099-01-01")["state"] == "active"
    assert get(service, made, "storage.read:/crew")
    events = [line["event"] for line in service.member("history", "yearly")]
    assert events == ["member.added", "member.expired", "member.extended"]


def test_a_token_ends_with_its_membership(service: Service, crew: Browser) -> None:
    made = hire(service, "brief", "crew", "--group=crew")
    set_end(service, "brief", (datetime.now(UTC) + timedelta(seconds=60)).strftime("%Y-%m-%d %H:%M:%S"))
    assert 0 < get(service, made, "storage.read:/crew").expires_in <= 60


def test_an_expired_person(service: Service) -> None:
    browser, _ = service.join("guest1", "guests")
    tokens = service.connect(browser, scope="openid offline_access")
    set_end(service, "guest1", "2020-06-01 00:00:00")
    assert "Log in" in browser.open(f"{service.issuer}/").text
    assert service.refresh(tokens["refresh_token"]).body["error"] == "invalid_grant"
    page = browser.submit(browser.open(f"{service.issuer}/login/"), username="guest1", password=PASSWORD)
    assert "has expired" in page.text
    assert member(service, "expire", "--json") == {"expired": ["guest1"]}
    assert member(service, "extend", "guest1", "never")["expires"] is None
    assert service.refresh(tokens["refresh_token"]).status == 200  # nobody sent them away


def test_groups_of_a_member_change(service: Service, crew: Browser) -> None:
    made = hire(service, "mover", "crew", "--group=crew")
    reader = service.read_token()
    cursor = service.request("/scim/v2/changes", bearer=reader).body["cursor"]
    assert member(service, "join", "mover", "--group=lab/production")["groups"] == ["lab", "lab/production", "crew"]
    member(service, "join", "mover", "--group=lab/production")  # safe to repeat
    assert service.request(f"/scim/v2/changes?cursor={cursor}", bearer=reader).body == {
        "cursor": cursor + 1,
        "changed": [made["sub"]],
        "removed": [],
    }
    assert get(service, made, "storage.modify:/data").scope == "storage.modify:/data"
    refused = service.run("member", "leave", "mover", "--group=lab")
    assert refused.returncode == 2 and "is in lab by lab/production" in refused.stderr
    assert member(service, "leave", "mover", "--group=lab/production")["groups"] == ["crew"]
    with pytest.raises(OAuthError, match="invalid_scope"):
        get(service, made, "storage.modify:/data")
    assert service.run("member", "join", "mover", "--group=nowhere").returncode == 2
    lines = service.member("history", "mover")
    assert [(line["event"], line["by"]) for line in lines[1:]] == [("group.joined", "ada"), ("group.left", "ada")]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--owner=attic",), "nobody is active in it"),
        (("--owner=nowhere",), "no such group"),
        ((), "--owner GROUP"),
        (("--owner=crew", "--expires=2020-01-01"), "is past"),
        (("--owner=crew", "--expires=tomorrow"), "2030-12-31"),
        (("--owner=crew", "--pending"), "for people"),
    ],
)
def test_impossible_service_members(service: Service, crew: Browser, words: tuple[str, ...], told: str) -> None:
    done = service.run("member", "add", "nope", "--service", "--group=crew", *words)
    assert done.returncode == 2 and told in done.stderr and done.stdout == "" and "Traceback" not in done.stderr


def test_what_only_people_or_service_members_have(service: Service, prod: dict[str, Any]) -> None:
    assert "is a person" in service.run("member", "secret", "nina").stderr
    assert "is a person" in service.run("member", "give", "nina", "--owner=crew").stderr
    assert "needs an end" in service.run("member", "extend", "prod", "never").stderr
    assert "is past" in service.run("member", "extend", "prod", "2020-01-01").stderr
    assert "add --service" in service.run("member", "add", "una", "--group=lab", "--owner=lab").stderr


def test_production_does_not_end_with_one_person(service: Service, prod: dict[str, Any]) -> None:
    """Ownership follows the people; whoever leaves is named as one who may know the secret."""
    service.join("noah", "crew")
    shown = scim(service, prod["sub"])["urn:farmlet:scim:User"]
    assert (shown["kind"], shown["owner"]) == ("service", "crew/night")
    left = member(service, "suspend", "nina")
    assert "prod" in left["renew"]
    assert member(service, "show", "prod")["owner"] == "crew"
    assert get(service, prod, "storage.modify:/night")
    assert member(service, "resume", "nina")["renew"] == []
    assert member(service, "give", "prod", "--owner=crew/night")["owner"] == "crew/night"
    owners = [(line["before"], line["after"]) for line in service.member("history", "prod") if line["event"] == "owner.changed"]
    assert owners == [("crew/night", "crew"), ("crew", "crew/night")]


def test_without_anybody_it_is_suspended(service: Service) -> None:
    """In a facility of its own, without a server, where nobody else is."""
    empty = Service(service.issuer, service.folder / "empty", service.cafile)
    empty.folder.mkdir()
    write_config(empty)
    for words in (("migrate",), ("keys", "ensure"), ("groups", "ensure")):
        empty.do(*words)
    member(empty, "add", "eva", "--group=visitors")
    member(empty, "add", "boss", "--group=board")
    hire(empty, "only", "visitors", "--group=lab")
    member(empty, "leave", "eva", "--group=visitors")
    assert member(empty, "show", "only")["owner"] == "board"
    assert member(empty, "remove", "boss")["state"] == "removed"  # nothing keeps a person from being sent away
    assert member(empty, "show", "only")["state"] == "suspended"
    refused = empty.run("member", "resume", "only")
    assert refused.returncode == 2 and "nobody is active" in refused.stderr and "hint:" in refused.stderr
    assert member(empty, "show", "only")["state"] == "suspended"
    member(empty, "join", "eva", "--group=visitors")
    member(empty, "give", "only", "--owner=visitors")
    assert member(empty, "resume", "only")["state"] == "active"
    table = json.loads(empty.config.read_text())["rights"]
    table["groups"] = [group for group in table["groups"] if group["path"] != "visitors"]
    write_config(empty, rights=table)
    empty.do("groups", "ensure", "--by=ada")
    assert [line["by"] for line in empty.member("history", "only") if line["event"] == "member.suspended"] == ["ada", "ada"]
    assert audit.verify(empty.folder / "db" / "audit.log") > 10


def test_any_moves_leave_no_service_member_without_owner(tmp_path: Path) -> None:
    script = Path(__file__).with_name("moves.py")
    done = subprocess.run([sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def test_home_page_names_the_service_members_of_ones_groups(service: Service, prod: dict[str, Any]) -> None:
    _, page = service.join("norbert", "crew/night")
    assert "Service members of your groups" in page.text and "<code>prod</code>" in page.text
    _, page = service.join("stella", "visitors")
    assert "Service members" not in page.text


def test_every_line_of_the_audit_log_says_who(service: Service, prod: dict[str, Any]) -> None:
    browser, _ = service.join("otto")
    first = service.connect(browser)["refresh_token"]
    second = service.refresh(first).body["refresh_token"]
    service.refresh(second)
    service.refresh(first)
    login = Browser(service.cafile)
    login.submit(login.open(f"{service.issuer}/login/"), username="otto", password="wrong")
    service.do("token", "--as=otto", "--scope=openid", "--reason=a look", "--by=ada")
    lines = list(audit.read(service.folder / "db" / "audit.log"))
    assert all(line["by"] for line in lines)
    known = {line["event"]: line["by"] for line in lines if line.get("member") == "otto"}
    assert known["member.joined"] == "otto" and known["device.allowed"] == "otto"
    assert known["refresh.reused"] == "farmlet" and known["login.failed"].startswith("address ")
    assert known["token.minted"] == "ada"
    assert {"key.made", "client.set", "groups.changed", "member.added"} <= {line["event"] for line in lines}


def scim(service: Service, sub: str) -> dict[str, Any]:
    return service.request(f"/scim/v2/Users/{sub}", bearer=service.read_token()).body
