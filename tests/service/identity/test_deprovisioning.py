"""What a program hears that comes back with its refresh token after the end of a membership."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from browser import Browser
from credentials import store
from issuer import Service

from farmlet.parts.tokens import queue
from farmlet.parts.tokens.credmon import Monitor
from farmlet.parts.tokens.source import Issuers

pytestmark = pytest.mark.service
SCOPE = "offline_access storage.read:/"


def said(service: Service, token: str, client: str = "farmlet") -> str:
    answer = service.refresh(token, client)
    assert (answer.status, answer.body.pop("error")) == (400, "invalid_grant")
    assert "error_description" not in answer.body, "oidc-agent would ask its user to sign in again"
    return str(answer.body.get("farmlet_reason", ""))


def connect(service: Service, browser: Browser) -> str:
    return str(service.connect(browser, scope=SCOPE)["refresh_token"])


def test_a_suspension_is_told_to_who_had_a_token_and_to_nobody_else(service: Service) -> None:
    browser = service.join("edda")[0]
    first, lone, gone = (connect(service, browser) for _ in range(3))
    token = service.refresh(first).body["refresh_token"]
    assert service.request("/revoke", {"client_id": "farmlet", "token": gone}).status == 200
    service.do("member", "suspend", "edda")
    for one in (token, lone):
        assert said(service, one) == "the membership was suspended"
        assert said(service, one) == "the membership was suspended", "it is no use that ends anything"
        # with its id alone, by another client, for what ended otherwise: as for what never was
        assert said(service, f"{one.partition('.')[0]}.{'x' * 43}") == said(service, one, "batch") == said(service, gone) == ""
    basic = service.basic("accounts")
    assert service.request("/introspect/", {"token": token}, basic=basic).body == {"active": False}
    service.do("member", "resume", "edda")
    assert said(service, token) == said(service, lone) == "the membership was suspended", "nothing comes back by itself"
    assert service.refresh(connect(service, browser)).status == 200


def test_an_expiry_and_a_removal_are_told_too(service: Service) -> None:
    browser = service.join("egil")[0]
    token = connect(service, browser)
    service.execute("update identity_member set expires = '2020-01-01 00:00:00' where name = 'egil'")
    assert said(service, token) == "the membership is expired"
    service.do("member", "remove", "egil")
    assert said(service, token) == "the membership was removed"


def test_what_is_left_goes_when_the_token_would_have_expired(service: Service) -> None:
    browser = service.join("elin")[0]
    token, late = connect(service, browser), connect(service, browser)
    key = {one: one.partition(".")[0].replace("-", "") for one in (token, late)}
    where = "where replace(cast(id as text), '-', '') = '{}'"
    service.execute(f"update identity_connection set expires = '2020-01-01 00:00:00' {where.format(key[late])}")
    service.do("member", "suspend", "elin")
    assert service.execute(f"select 1 from identity_ended {where.format(key[late])}") == []
    assert json.loads(service.do("prune", "--json"))["ended connections"] == 0
    service.execute(f"update identity_ended set expires = '2020-01-01 00:00:00' {where.format(key[token])}")
    assert said(service, token) == ""
    assert json.loads(service.do("prune", "--json"))["ended connections"] == 1
    assert service.execute(f"select 1 from identity_ended {where.format(key[token])}") == []


@pytest.mark.once
def test_the_credential_monitor_passes_it_on_and_advises_nothing_in_vain(service: Service, tmp_path: Path) -> None:
    top = store(service, service.join("eskil")[0], tmp_path / "eskil", "batch")
    service.do("member", "suspend", "eskil")
    Monitor(tmp_path, Issuers([service.issuer], service.cafile)).sweep()
    assert "the membership was suspended" in json.loads(top.with_suffix(".refused").read_text())["reason"]
    assert queue.find_fault(top.parent, "farmlet").endswith("invalid_grant: the membership was suspended).")
