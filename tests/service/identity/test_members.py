"""Members: registration, states, log-in, SCIM and the feed of changes, against the real server."""

from __future__ import annotations

import http.client
import json
import re
import socket
import threading
import time
import uuid

import pytest
from browser import Browser
from issuer import ENSURE, PASSWORD, RIGHTS, Service, serve, write_config

from farmlet.runtime import audit

pytestmark = pytest.mark.service


@pytest.fixture(scope="module")
def reader(service: Service) -> str:
    return service.read_token()


@pytest.fixture(scope="module")
def lars(service: Service) -> Browser:
    return service.join("lars", "lab/production")[0]


def login(service: Service, name: str, password: str = PASSWORD) -> str:
    browser = Browser(service.cafile)
    return browser.submit(browser.open(f"{service.issuer}/login/"), username=name, password=password).text


def test_join_link_works_once(service: Service) -> None:
    url = service.member("add", "dora", "--group=lab")["join"]
    browser = Browser(service.cafile)
    weak = browser.submit(browser.open(url), new_password1="dora1234", new_password2="dora1234")
    assert "too short" in weak.text
    assert "Logged in as dora" in browser.submit(weak, new_password1=PASSWORD, new_password2=PASSWORD).text
    assert browser.open(url).status == 404
    assert "Logged in as dora" in login(service, "dora")
    assert url.split("/")[-2].encode() not in b"".join(path.read_bytes() for path in (service.folder / "db").iterdir())


@pytest.mark.parametrize("email", ["mona@b", "mona@farmlet.test"])
def test_an_address_that_scim_cannot_tell_is_refused(service: Service, email: str) -> None:
    done = service.run("member", "add", "mona", "--group=lab", f"--email={email}")
    assert done.returncode == 2 and email in done.stderr and "Traceback" not in done.stderr


def test_an_odd_address_of_one_member_costs_nobody_an_answer(service: Service, reader: str, lars: Browser) -> None:
    """One that an older version let in."""
    sub = service.member("add", "odille", "--group=lab", "--email=odille@example.org")["sub"]
    service.execute("UPDATE identity_member SET email = 'odille@b' WHERE name = 'odille'")
    some = ("", "?attributes=userName,emails", "?sortBy=userName", "?filter=userName%20co%20%22l%22")
    for query in some:
        answer = service.request(f"/scim/v2/Users{query}", bearer=reader)
        assert answer.status == 200 and {"odille", "lars"} <= {user["userName"] for user in answer.body["Resources"]}, query
    answer = service.request(f"/scim/v2/Users/{sub}", bearer=reader)
    service.execute("UPDATE identity_member SET email = 'odille@example.org' WHERE name = 'odille'")
    assert answer.status == 200 and answer.body["userName"] == "odille" and "emails" not in answer.body


def test_form_from_elsewhere_is_refused(service: Service) -> None:
    browser = Browser(service.cafile)
    page = browser.open(f"{service.issuer}/login/")
    form = {**page.forms[0].fields, "username": "alice", "password": PASSWORD}
    assert browser.open(page.url, form, referer="https://elsewhere.example.org/").status == 403
    form.pop("csrfmiddlewaretoken")
    assert browser.open(page.url, form, referer=page.url).status == 403


def test_pages_are_closed_to_scripts_and_frames(service: Service) -> None:
    headers = Browser(service.cafile).open(f"{service.issuer}/login/").headers
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Frame-Options"] == "DENY"
    assert "Secure" in headers["Set-Cookie"] and "__Host-csrf" in headers["Set-Cookie"]


def test_pending_member_waits(service: Service) -> None:
    _, page = service.join("petra", pending=True)
    assert page.status == 200
    assert "waits for approval" in page.text
    assert "waits for approval" in login(service, "petra")
    assert "Wrong name or password" in login(service, "petra", "wrong")
    service.do("member", "approve", "petra")
    assert "Logged in as petra" in login(service, "petra")


def test_suspension_ends_sessions_and_refresh_tokens(service: Service) -> None:
    browser, _ = service.join("sven")
    answer = service.connect(browser)
    assert "Logged in as sven" in browser.open(f"{service.issuer}/").text
    service.do("member", "suspend", "sven")
    assert service.refresh(answer["refresh_token"]).body["error"] == "invalid_grant"
    assert service.request("/userinfo", bearer=answer["access_token"]).status == 401
    assert "Log in" in browser.open(f"{service.issuer}/").text
    assert "suspended" in login(service, "sven")
    service.do("member", "resume", "sven")
    assert "Logged in as sven" in login(service, "sven")
    assert service.refresh(answer["refresh_token"]).status == 400  # what was lost stays lost


def test_names_and_numbers_are_never_given_again(service: Service) -> None:
    first = service.member("add", "rosa", "--group=lab")
    service.do("member", "remove", "rosa")
    again = service.run("member", "add", "rosa", "--group=lab")
    assert again.returncode == 2 and "never given again" in again.stderr and "farmlet user resume rosa" in again.stderr
    second = service.member("add", "rolf", "--group=lab")
    assert second["uid"] > first["uid"] >= 20000
    assert service.run("member", "approve", "rosa").returncode == 2


def test_a_member_who_is_there_is_not_added_again(service: Service) -> None:
    """And who asks is told of them, not of names that are never given again."""
    service.do("member", "add", "roland", "--group=lab")
    again = service.run("member", "add", "roland", "--group=lab")
    assert again.returncode == 2 and "never given" not in again.stderr
    assert "member roland: is there already, and is active" in again.stderr and "farmlet user show roland" in again.stderr


def test_who_was_removed_may_come_back_as_who_they_were(service: Service) -> None:
    service.join("renate")
    first = service.member("show", "renate")
    service.do("member", "remove", "renate")
    assert "Wrong name or password" in login(service, "renate")
    back = service.member("resume", "renate")
    assert {key: back[key] for key in ("state", "uid", "sub", "groups")} == {
        key: first[key] for key in ("state", "uid", "sub", "groups")
    }
    assert "Wrong name or password" in login(service, "renate")  # the old password is gone
    browser = Browser(service.cafile)
    browser.submit(browser.open(back["join"]), new_password1=PASSWORD, new_password2=PASSWORD)
    assert "Logged in as renate" in login(service, "renate")
    assert "join" not in service.member("resume", "renate")


@pytest.mark.parametrize("arguments", [("lab-production", "lab"), ("uwe", "unknown")])
def test_impossible_members(service: Service, arguments: tuple[str, str]) -> None:
    done = service.run("member", "add", arguments[0], f"--group={arguments[1]}")
    assert done.returncode == 2 and done.stdout == "" and "Traceback" not in done.stderr


def test_failed_logins_delay_this_account_here(service: Service, lars: Browser) -> None:
    service.join("tina")
    assert all("Wrong name or password" in login(service, "tina", "wrong") for _ in range(5))
    assert "Too many failed attempts" in login(service, "tina")  # even with the right password, for 2 s
    assert "Logged in as lars" in login(service, "lars")
    time.sleep(2)
    assert "Wrong name or password" in login(service, "tina", "wrong")
    assert re.search(r"Please wait [34] s", login(service, "tina"))  # each failure doubles it
    time.sleep(4)
    assert "Logged in as tina" in login(service, "tina")


def test_scim_lists_members(service: Service, reader: str, lars: Browser) -> None:
    body = service.request("/scim/v2/Users?startIndex=1&count=1000", bearer=reader).body
    assert body["totalResults"] == len(body["Resources"]) == body["itemsPerPage"]
    lars = next(user for user in body["Resources"] if user["userName"] == "lars")
    extension = lars["urn:farmlet:scim:User"]
    assert extension["uidNumber"] == extension["gidNumber"] >= 20000
    assert [group["path"] for group in extension["groups"]] == ["lab", "lab/production"]
    assert all(group["gidNumber"] >= 30000 for group in extension["groups"])
    assert "storage.modify:/users/lars" in extension["scopes"] and extension["state"] == "active"
    assert service.request(f"/scim/v2/Users/{lars['id']}", bearer=reader).body == lars
    page = service.request("/scim/v2/Users?startIndex=2&count=1", bearer=reader).body
    assert [user["id"] for user in page["Resources"]] == [body["Resources"][1]["id"]]


def test_scim_needs_its_scope(service: Service, reader: str, lars: Browser) -> None:
    assert service.request("/scim/v2/Users").status == 401
    token = service.do("token", "--as=lars", "--scope=openid scim:read", "--reason=test", "--by=carol").strip()
    assert service.request("/scim/v2/Users", bearer=token).status == 403
    assert service.request("/scim/v2/Users?count=x", bearer=reader).status == 400
    assert service.request("/scim/v2/Users/nobody", bearer=reader).status == 404


def test_a_database_that_was_restored_gives_nobodys_name_and_number_away(service: Service) -> None:
    """What it has forgotten, the nodes remember; the one file of theirs that it reads is here for this test."""
    sub, highest = str(uuid.uuid4()), 1 + max(one["uid"] for one in service.member("list"))
    lost, seen = highest + 50, service.folder / "seen.json"
    seen.write_text(json.dumps({"members": {"lois": [sub, lost]}, "groups": {"lab-lost": 39000}}))
    try:
        refused = service.run("member", "add", "lois", "--group=lab")
        assert refused.returncode == 2 and str(lost) in refused.stderr and "--again" in refused.stderr
        assert service.run("member", "add", "lab-lost", "--group=lab").returncode == 2
        assert service.run("member", "add", "linus", "--group=lab", "--again").returncode == 2
        assert service.member("add", "linus", "--group=lab")["uid"] == lost + 1
        back = service.member("add", "lois", "--group=lab", "--again")
        assert (back["uid"], back["sub"]) == (lost, sub) and "join" in back
        seen.write_text("half of it")
        assert service.run("member", "add", "lucy", "--group=lab").returncode == 1
    finally:
        seen.unlink()


def test_feed_wakes_its_readers(service: Service, reader: str) -> None:
    sub = service.member("add", "mara", "--group=lab")["sub"]
    cursor = service.request("/scim/v2/changes", bearer=reader).body["cursor"]
    came: list[tuple[float, dict[str, object]]] = []

    def follow() -> None:
        answer = service.request(f"/scim/v2/changes?cursor={cursor}&wait=20", bearer=reader, timeout=30)
        came.append((time.time(), answer.body))

    waiting = threading.Thread(target=follow)
    waiting.start()
    time.sleep(0.5)
    assert not came
    service.do("member", "suspend", "mara")
    waiting.join(20)
    moment, body = came[0]
    assert body == {"cursor": cursor + 1, "changed": [sub], "removed": []}
    # the change is on record before the command ends, the reader must have it within a second of that
    lines = [json.loads(line) for line in (service.folder / "db" / "audit.log").read_text().splitlines()]
    done = max(line["at"] for line in lines if line["event"] == "member.suspended" and line["member"] == "mara")
    assert moment - done < 1
    assert service.request(f"/scim/v2/changes?cursor={cursor + 1}&wait=0", bearer=reader).body["changed"] == []
    service.do("member", "remove", "mara")
    everybody = service.request("/scim/v2/changes?cursor=999999&wait=9", bearer=reader).body
    assert sub in everybody["changed"] and sub in everybody["removed"]


def test_ensuring_again_changes_nothing(service: Service, reader: str) -> None:
    before = service.request("/scim/v2/changes", bearer=reader).body["cursor"]
    events = audit.verify(service.folder / "db" / "audit.log")
    service.do("migrate")
    service.do("keys", "ensure")
    service.do("groups", "ensure")
    service.do(*ENSURE)
    assert service.request("/scim/v2/changes", bearer=reader).body["cursor"] == before
    assert audit.verify(service.folder / "db" / "audit.log") == events
    assert len(list((service.folder / "keys").iterdir())) == 2  # one for each algorithm


def test_changed_rights_announce_their_members(service: Service, reader: str, lars: Browser) -> None:
    sub = service.member("add", "gina", "--group=guests")["sub"]
    cursor = service.request("/scim/v2/changes", bearer=reader).body["cursor"]
    rights = RIGHTS.to_json()
    rights["groups"] = [group for group in rights["groups"] if group["path"] != "visitors"]
    next(group for group in rights["groups"] if group["path"] == "guests")["read"] = ["/public", "/new"]
    write_config(service, rights=rights)
    try:
        assert "groups changed: guests, visitors" in service.run("groups", "ensure").stderr
    finally:
        write_config(service)
    feed = service.request(f"/scim/v2/changes?cursor={cursor}", bearer=reader).body
    others = {service.member("show", name)["sub"] for name in ("lars",)}
    assert feed["cursor"] > cursor and sub in feed["changed"] and not others & set(feed["changed"])
    assert "groups changed: guests, visitors" in service.run("groups", "ensure").stderr


def test_behind_the_front_door(service: Service, lars: Browser) -> None:
    """As deployed: a unix socket, TLS ended by the reverse proxy."""
    socket_path = service.folder / "front.sock"
    host = service.issuer.removeprefix("https://")
    with serve(service, f"unix:{socket_path}"):
        connection = http.client.HTTPConnection(host)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(socket_path))
        front = {"Host": host, "X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.7"}
        connection.request("GET", "/login/", headers=front)
        answer = connection.getresponse()
        cookie = answer.headers["Set-Cookie"].split(";")[0]
        field = answer.read().decode().partition('csrfmiddlewaretoken" value="')[2].partition('"')[0]
        body = f"csrfmiddlewaretoken={field}&username=lars&password=wrong"
        form = {"Content-Type": "application/x-www-form-urlencoded", "Cookie": cookie, "Origin": service.issuer}
        connection.request("POST", "/login/", body, {**front, **form})
        answer = connection.getresponse()
        assert answer.status == 200 and "Wrong name or password" in answer.read().decode()
        connection.request("GET", "/login/", headers={**front, "Host": "elsewhere.example.org"})
        assert connection.getresponse().status == 400
        connection.close()
    lines = [json.loads(line) for line in (service.folder / "db" / "audit.log").read_text().splitlines()]
    assert any(line["event"] == "login.failed" and line["address"] == "192.0.2.7" for line in lines)


def test_history_tells_what_the_audit_log_says_of_one_member(service: Service) -> None:
    service.do("member", "add", "hilde", "--group=lab", "--by=ada")
    service.do("member", "suspend", "hilde", "--by=ada")
    lines = service.member("history", "hilde")
    assert lines[0]["event"] == "member.added"
    assert len(lines) == 2
    assert all(line["by"] == "ada" and "hash" not in line for line in lines)
