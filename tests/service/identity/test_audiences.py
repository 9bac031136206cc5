"""Whom a token is for is part of the consent: what members allow, and what no route around the page leads to."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from browser import Browser
from issuer import ANY, ELEMENTS, Answer, Service, claims, serve, write_config
from party import BACK, Party, read_back
from test_registration import DEVICE, Registrar, forget

from waiting import find_port

pytestmark = pytest.mark.service
ELEMENT = ELEMENTS[0]
HUB = "https://hub.example.org"  # no storage: it takes tokens for itself alone
NODE, OTHER_NODE = "ssh_head.example.org", "ssh_other.example.org"
LOG_IN = "log in by SSH as you"
EXCHANGE = {
    "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
    "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
}


@pytest.fixture(scope="module")
def wenzel(service: Service) -> Browser:
    return service.join("wenzel")[0]


@pytest.fixture(scope="module")
def stranger(service: Service) -> dict[str, Any]:
    """A program that anybody registered, as oidc-agent does, for nothing but to know who one is."""
    forget(service)
    wanted = {"grant_types": ["authorization_code", "refresh_token", DEVICE], "redirect_uris": [BACK]}
    return Registrar(service).register(scope="openid offline_access", token_endpoint_auth_method="none", **wanted)


@pytest.fixture(scope="module", autouse=True)
def clients(service: Service) -> None:
    service.do("client", "ensure", "shell", "--public", "--grant=device,refresh", f"--audience={ANY} ssh {NODE} {HUB}")
    service.do("client", "ensure", "gate", "--public", "--grant=device,refresh", f"--audience={NODE} {OTHER_NODE}")
    service.register("carrier", "--grant=exchange,refresh")
    service.register("door", "--grant=exchange,code,refresh", f"--redirect-uri={BACK}", f"--audience={ANY} ssh")


def exchange(service: Service, client: str, token: str, **form: str) -> Answer:
    return service.token({**EXCHANGE, "subject_token": token, **form}, basic=service.basic(client))


def is_refused(answer: Answer) -> bool:
    return (answer.status, answer.body.get("error")) == (400, "invalid_target")


BEYOND = ("ssh", NODE, "ssh_elsewhere.example.org", HUB, f"{ANY} ssh", f"{ELEMENT} {HUB}")


@pytest.mark.parametrize("field", ["audience", "resource"])
def test_nothing_is_redeemed_or_refreshed_for_whom_the_member_did_not_allow(
    service: Service, wenzel: Browser, stranger: dict[str, Any], field: str
) -> None:
    """By device code, by code and by refresh token, of a program that asked to know who one is."""
    name = stranger["client_id"]
    beyond: list[Any] = [{field: audience.split()} for audience in BEYOND]
    started = service.begin(name, scope="openid offline_access")
    service.allow(wenzel, started)
    assert is_refused(service.redeem(started, name, **beyond[0]))
    time.sleep(1)  # a device must not ask faster
    held = service.redeem(started, name)  # the code is still good for what was allowed
    assert held.status == 200 and claims(held.body["access_token"])["aud"] == ANY
    party = Party(service, name)
    code = party.ask(wenzel, scope="openid offline_access")["code"]
    assert all(is_refused(party.redeem(code, **given)) for given in beyond)
    token = party.redeem(code).body["refresh_token"]
    for one in (held.body["refresh_token"], token):
        assert all(is_refused(service.refresh(one, name, **given)) for given in beyond)
        assert service.refresh(one, name).status == 200


@pytest.mark.parametrize("audience", ["ssh", NODE, f"{ANY} ssh"])
def test_who_is_not_registered_for_a_log_in_cannot_even_ask(
    service: Service, wenzel: Browser, stranger: dict[str, Any], audience: str
) -> None:
    for name in (stranger["client_id"], "batch"):
        form = {"client_id": name, "scope": "openid", "audience": audience}
        assert is_refused(service.request("/device-authorization/", form))
    back = read_back(wenzel.open(Party(service, stranger["client_id"]).url(scope="openid", audience=audience)), BACK)
    assert back["error"] == "invalid_target"


def test_the_page_says_in_words_what_the_token_may_be_used_for(service: Service, wenzel: Browser) -> None:
    def show(client: str = "shell", **asked: str) -> str:
        return wenzel.open(service.begin(client, scope="openid", **asked)["verification_uri_complete"]).text

    both = show(audience=f"ssh {NODE}")
    assert LOG_IN in both and f"{LOG_IN} at head.example.org" in both and "may use this" not in both
    assert "run programs" in both
    data = show(audience=ANY)
    assert LOG_IN not in data and "every storage of Example facility" in data
    here = show(audience=f"{ELEMENT} {HUB}")
    assert "use this only at" in here and ELEMENT in here and HUB in here and "every storage" not in here
    all_ = show(audience=f"ssh {ANY} {ELEMENT} {HUB}")
    assert LOG_IN in all_ and "every storage" in all_ and f"at <code>{HUB}</code>" in all_ and ELEMENT not in all_
    # a log-in must be asked for, unless a client is for nothing else
    for client in ("shell", "batch"):
        assert LOG_IN not in show(client) and "every storage" in show(client)
    assert f"{LOG_IN} at head.example.org" in show("gate") and "may use this" not in show("gate")


def test_each_token_is_for_a_part_of_what_was_allowed(service: Service, wenzel: Browser) -> None:
    token = service.connect(wenzel, "shell", scope="openid offline_access", audience=f"ssh {ANY}")["refresh_token"]

    def refresh(**form: str) -> Answer:
        nonlocal token
        answer = service.refresh(token, "shell", **form)
        token = answer.body.get("refresh_token", token)
        return answer

    assert claims(refresh(audience="ssh").body["access_token"])["aud"] == "ssh"
    # a log-in is asked for, or it is not in the token
    assert claims(refresh().body["access_token"])["aud"] == ANY
    assert claims(refresh(audience=ELEMENT).body["access_token"])["aud"] == ELEMENT
    for beyond in (NODE, HUB, "https://elsewhere.example.org"):  # two of which this client might have asked for
        assert is_refused(refresh(audience=beyond))
    assert claims(refresh(audience="ssh").body["access_token"])["aud"] == "ssh", "what one token had is not the family's limit"


def test_a_device_that_cannot_name_an_audience_has_a_client_for_it(service: Service, wenzel: Browser) -> None:
    """As oidc-agent 4.2.6: nothing at the device endpoint, `audience` at the poll and at each refresh."""
    started = service.begin("gate", scope="openid offline_access")
    service.allow(wenzel, started)
    answer = service.redeem(started, "gate", audience=NODE)
    assert claims(answer.body["access_token"])["aud"] == NODE
    token = answer.body["refresh_token"]
    assert all(is_refused(service.refresh(token, "gate", audience=beyond)) for beyond in (ANY, ELEMENT, "ssh"))
    assert claims(service.refresh(token, "gate").body["access_token"])["aud"] == [NODE, OTHER_NODE]


def test_a_client_that_loses_a_log_in_has_it_no_more(service: Service, wenzel: Browser) -> None:
    def ensure(audiences: str) -> None:
        service.do("client", "ensure", "brief-door", "--public", "--grant=device,refresh", f"--audience={audiences}")

    ensure(f"{ANY} ssh")
    token = service.connect(wenzel, "brief-door", scope="openid offline_access")["refresh_token"]
    started = service.begin("brief-door", scope="openid")
    service.allow(wenzel, started)
    ensure(ANY)
    # clients are remembered for some seconds: the command on the node tells no server
    while (answer := service.refresh(token, "brief-door", audience="ssh")).status == 200:
        token = answer.body["refresh_token"]
    assert is_refused(answer) and is_refused(service.redeem(started, "brief-door", audience="ssh"))
    time.sleep(1)
    assert claims(service.redeem(started, "brief-door").body["access_token"])["aud"] == ANY
    assert claims(service.refresh(token, "brief-door").body["access_token"])["aud"] == ANY


@pytest.mark.parametrize("client", ["carrier", "door"])
def test_exchange_stays_within_the_subject_token_and_opens_no_log_in(service: Service, wenzel: Browser, client: str) -> None:
    def subject(**asked: str) -> str:
        return str(service.connect(wenzel, "shell", scope="openid offline_access", **asked)["access_token"])

    token = subject(audience=ANY)
    for beyond in ("ssh", NODE, HUB, f"{ELEMENT} ssh"):
        assert is_refused(exchange(service, client, token, audience=beyond))
    assert claims(exchange(service, client, token, audience=ELEMENT).body["access_token"])["aud"] == ELEMENT
    narrow = subject(audience=ELEMENT)
    for beyond in (ANY, ELEMENTS[1], "ssh"):
        assert is_refused(exchange(service, client, narrow, audience=beyond))
    # who was shown the token of a log-in has nothing for it, and no connection either
    for shown in ("ssh", NODE):
        form = {"scope": "openid offline_access"}
        assert is_refused(exchange(service, client, subject(audience=shown), **form))
        assert is_refused(exchange(service, client, subject(audience=shown), audience=ANY, **form))


def test_what_was_exchanged_stays_where_it_was(service: Service, wenzel: Browser) -> None:
    token = service.connect(wenzel, scope="openid storage.read:/")["access_token"]
    made = exchange(service, "carrier", token, scope="openid offline_access storage.read:/", audience=ELEMENT).body
    form = {"grant_type": "refresh_token", "refresh_token": made["refresh_token"]}
    for beyond in (ANY, ELEMENTS[1], "ssh"):
        assert is_refused(service.token({**form, "audience": beyond}, basic=service.basic("carrier")))
    assert claims(service.token(form, basic=service.basic("carrier")).body["access_token"])["aud"] == ELEMENT


def test_a_service_members_token_is_for_what_its_client_is_registered_for(service: Service, wenzel: Browser) -> None:
    made = service.member("add", "courier", "--service", "--owner=lab", "--group=lab")
    mine = f"{made['client_id']}:{made['client_secret']}"
    form = {"grant_type": "client_credentials", "scope": "openid storage.read:/"}
    for beyond in ("ssh", NODE, HUB, f"{ELEMENT} {HUB}"):
        assert is_refused(service.token({**form, "audience": beyond}, basic=mine))
    assert claims(service.token({**form, "audience": ELEMENT}, basic=mine).body["access_token"])["aud"] == ELEMENT
    token = service.token(form, basic=mine).body["access_token"]
    assert claims(token)["aud"] == ANY
    for client in ("carrier", "door"):
        for beyond in ("ssh", NODE, HUB):
            assert is_refused(exchange(service, client, token, audience=beyond))


def test_a_log_in_is_allowed_by_the_member_whoever_asks(service: Service, wenzel: Browser) -> None:
    """An earlier consent to something else does not hold for it, nor is the facility's own client above it."""
    door = Party(service, "door", service.secret("door"))
    data = {"scope": "openid offline_access", "audience": ANY}
    assert door.redeem(door.ask(wenzel, **data)["code"]).status == 200
    assert wenzel.open(door.url(**data)).status == 303, "allowed already"
    page = wenzel.open(door.url(scope="openid offline_access", audience="ssh"))
    assert page.status == 200 and LOG_IN in page.text
    service.register("own", "--grant=code", f"--redirect-uri={BACK}", "--trusted", f"--audience={ANY} ssh")
    own = Party(service, "own")
    assert wenzel.open(own.url(scope="openid", audience=ANY)).status == 303
    page = wenzel.open(own.url(scope="openid", audience="ssh"))
    assert page.status == 200 and LOG_IN in page.text
    assert "error=consent_required" in wenzel.open(own.url(scope="openid", audience="ssh", prompt="none")).headers["Location"]


def test_the_audit_log_says_for_whom(service: Service, wenzel: Browser, stranger: dict[str, Any]) -> None:
    service.connect(wenzel, "shell", scope="openid", audience="ssh")
    party = Party(service, stranger["client_id"])
    party.redeem(party.ask(wenzel, scope="openid", audience=HUB)["code"])
    log = [json.loads(line) for line in service.audit.read_text().splitlines()]
    last = {line["event"]: line for line in log}
    assert last["device.allowed"]["audience"] == ["ssh"] and last["code.issued"]["audience"] == [HUB]
    assert next(line["audiences"] for line in log if line["event"] == "client.set" and line["client"] == "shell") == [
        HUB,
        ANY,
        "ssh",
        NODE,
    ]


def test_a_program_that_registers_itself_is_held_to_what_it_names(service: Service, wenzel: Browser) -> None:
    forget(service)
    registrar = Registrar(service)
    made = registrar.register(audience=[ELEMENT, HUB])
    assert made["audience"] == [HUB, ELEMENT]
    mine = f"{made['client_id']}:{made['client_secret']}"
    asked = {"client_id": made["client_id"], "scope": "openid"}
    assert is_refused(service.request("/device-authorization/", {**asked, "audience": ANY}, basic=mine))
    assert service.request("/device-authorization/", {**asked, "audience": HUB}, basic=mine).status == 200
    for wrong in ("ssh", ["ssh"], [ANY, NODE], ["\u00e4"], [1], ["https://x/" + "y" * 2000]):
        answer = registrar.send({"grant_types": [DEVICE], "audience": wrong})
        assert (answer.status, answer.body["error"]) == (400, "invalid_client_metadata"), wrong
    change = {"grant_types": [DEVICE], "client_id": made["client_id"], "audience": ["ssh"]}
    answer = registrar.send(change, made["registration_client_uri"], "PUT", made["registration_access_token"])
    assert (answer.status, answer.body["error"]) == (400, "invalid_client_metadata")
    forget(service)


@contextmanager
def beside(service: Service, **changes: Any) -> Iterator[Service]:
    """Another server over the same database, with other settings."""
    port = find_port()
    try:
        write_config(service, issuer=f"https://localhost:{port}", **changes)
        with serve(service, f"127.0.0.1:{port}", "--certfile", service.cafile, "--keyfile", str(service.folder / "tls.key")):
            yield Service(f"https://localhost:{port}", service.folder, service.cafile)
    finally:
        write_config(service)


@pytest.mark.once
def test_a_facility_may_let_them_ask_for_a_log_in(service: Service, wenzel: Browser) -> None:
    """And may take it back."""
    forget(service)
    with beside(service, registered_logins=True) as there:
        made = Registrar(there).register(audience=[ANY, "ssh"], token_endpoint_auth_method="none")
        name = made["client_id"]
        started = there.begin(name, scope="openid offline_access", audience="ssh")
        page = wenzel.open(started["verification_uri_complete"])
        assert LOG_IN in page.text and "registered itself" in page.text
        wenzel.submit(page, "allow")
        answer = there.redeem(started, name)
        assert claims(answer.body["access_token"])["aud"] == "ssh"
    forget(service)
    token = answer.body["refresh_token"]
    assert is_refused(service.refresh(token, name, audience="ssh")) and is_refused(service.refresh(token, name))


@pytest.mark.once
def test_a_storage_element_more_needs_no_consent_more(service: Service, wenzel: Browser) -> None:
    """Jobs of members who are asleep go on when the facility gets one."""
    new = "https://se9.example.org"
    token = service.connect(wenzel, "batch", scope="offline_access storage.read:/")["refresh_token"]
    assert is_refused(service.refresh(token, "batch", audience=f"{ELEMENT} {new}"))
    with beside(service, elements=[*ELEMENTS, new]) as there:
        assert claims(there.refresh(token, "batch", audience=f"{ELEMENT} {new}").body["access_token"])["aud"] == [ELEMENT, new]
