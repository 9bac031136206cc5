"""What can be seen from outside of an INDIGO IAM that is not set up as the facility needs it (its stand-in)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from farmlet.parts.accounts import outside
from farmlet.parts.accounts.deploy import PART
from farmlet.parts.part import Context
from farmlet.runtime import oauth
from farmlet.runtime.checks import Failed
from indigo import BATCH, CLIENT, MEMBERS, SECRET, Client, Iam

MakeContext = Callable[..., Context]
LOGIN = {"id": MEMBERS, "use": "farmlet login", "scope": "openid offline_access wlcg.groups"}
JOBS = {"id": BATCH, "use": "jobs", "scope": "offline_access wlcg wlcg.groups"}


@pytest.fixture
def iam() -> Iterator[Iam]:
    found = Iam()
    outside._seen.clear()
    yield found
    found.close()


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text(f"{SECRET}\n")
    return path


def fault(look: Callable[[], object]) -> str:
    outside._seen.clear()
    with pytest.raises(Failed) as caught:
        look()
    return str(caught.value)


def test_all_is_well(iam: Iam, secret: Path) -> None:
    assert iam.issuer in outside.check_issuer(iam.issuer)
    assert CLIENT in outside.check_reader(issuer=iam.issuer, client=CLIENT, secret=str(secret))
    iam.clients.add(Client("oidc-agent", ("openid",), ("authorization_code",)))
    clients = [LOGIN, JOBS, {"id": "oidc-agent", "use": "login_clients"}]
    assert "as they should be" in outside.check_clients(issuer=iam.issuer, clients=clients)


def test_an_iam_without_the_slash_is_told_in_a_sentence(iam: Iam, secret: Path) -> None:
    iam.slash = False
    said = fault(lambda: outside.check_reader(issuer=iam.issuer, client=CLIENT, secret=str(secret)))
    assert f"call it {iam.issuer.rstrip('/')}:" in said and "without the slash" in said


@pytest.mark.parametrize("named", ["https://other.example.org/", ""])
def test_tokens_of_another_issuer_are_told(iam: Iam, secret: Path, monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    monkeypatch.setattr(Iam, "token_issuer", named)
    said = fault(lambda: outside.check_reader(issuer=iam.issuer, client=CLIENT, secret=str(secret)))
    assert f"tokens of {iam.issuer} are by {named or 'nobody'}" in said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"secret": "another"}, "its id or its secret is wrong"),
        ({"grants": ("authorization_code",)}, "lacks the grant “client credentials”"),
        ({"scopes": ("openid",)}, "lacks a scope of `scim:read`"),
        ({"disabled": True}, "disabled"),
        ({"id": "another"}, "its id or its secret is wrong"),
    ],
)
def test_what_is_wrong_with_the_reader(iam: Iam, secret: Path, change: dict[str, Any], said: str) -> None:
    client = iam.clients.known.pop(CLIENT)
    iam.clients.add(replace(client, **change))
    found = fault(lambda: outside.check_reader(issuer=iam.issuer, client=CLIENT, secret=str(secret)))
    assert said in found and SECRET not in found


def test_a_chosen_secret_may_hold_what_basic_encodes(iam: Iam, secret: Path) -> None:
    iam.clients.add(replace(iam.clients.known[CLIENT], secret="a+b/c%d"))
    secret.write_text("a+b/c%d")
    assert outside.check_reader(issuer=iam.issuer, client=CLIENT, secret=str(secret))


@pytest.mark.parametrize("client", [LOGIN, JOBS])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"id": "another"}, "there is no such client"),
        ({"secret": "one"}, "it is not public"),
        ({"grants": ("refresh_token",)}, "lacks the grant “device code”"),
        ({"grants": ("urn:ietf:params:oauth:grant-type:device_code",)}, "lacks the grant “refresh token”"),
        ({"scopes": ("openid", "offline_access", "wlcg")}, "Scope 'wlcg.groups' not allowed"),
        ({"disabled": True}, "it is disabled"),
    ],
)
def test_what_is_wrong_with_a_public_client(iam: Iam, client: dict[str, str], change: dict[str, Any], said: str) -> None:
    iam.clients.add(replace(iam.clients.known.pop(client["id"]), **change))
    found = fault(lambda: outside.check_clients(issuer=iam.issuer, clients=[client]))
    assert found.startswith(f"{client['use']}: ") and said in found


def test_clients_that_the_file_does_not_name_or_the_iam_does_not_know(iam: Iam) -> None:
    clients = [LOGIN | {"id": ""}, {"id": "oidc-agent", "use": "login_clients"}]
    found = fault(lambda: outside.check_clients(issuer=iam.issuer, clients=clients))
    assert "farmlet login: the file names no client" in found and "login_clients: there is no such client" in found


def test_an_iam_that_is_away_is_told_and_one_that_answers_is_not_asked_again(iam: Iam, secret: Path) -> None:
    look = {"issuer": iam.issuer, "client": CLIENT, "secret": str(secret)}
    assert outside.check_reader(**look)
    before = len(iam.grants.tokens)
    assert outside.check_reader(**look) and len(iam.grants.tokens) == before
    iam.close()
    assert "the members known last still count" in fault(lambda: outside.check_issuer(iam.issuer))


def test_what_waits_for_the_members_is_not_told_beside_what_keeps_them_away(make_context: MakeContext) -> None:
    text = "identity: {issuer: 'https://iam.example.org/'}\naccess: {client: members, login_clients: [oidc-agent]}\n"
    checks = {check.name: check for check in PART.role("daemon").checks(make_context("service", text))}
    checks |= {check.name: check for check in PART.role("homes").checks(make_context("head", text))}
    assert {name for name, check in checks.items() if check.external} == {"accounts.daemon.answers", "accounts.daemon.clients"}
    assert checks["accounts.daemon.reader"].after == ("accounts.daemon.secret", "accounts.daemon.answers")
    waiting = [name for name, check in checks.items() if check.after == ("accounts.daemon.reader",)]
    expected = ["issuer", "listing", "faults"]
    assert waiting == [
        *(f"accounts.daemon.{name}" for name in expected),
        "accounts.homes.home",
        "accounts.homes.scratch",
    ]  # fmt: skip
    clients = checks["accounts.daemon.clients"].args["clients"]
    assert [(one["id"], one["use"]) for one in clients] == [("members", "farmlet login"), ("oidc-agent", "login_clients")]
    own = [*PART.role("daemon").checks(make_context("service")), *PART.role("homes").checks(make_context("head"))]
    assert not any(check.after or check.external for check in own)


def test_a_group_that_stands_in_tokens_only_when_asked_for_opens_storage(iam: Iam, make_context: MakeContext) -> None:
    outside = f"identity: {{issuer: '{iam.issuer.replace('http://', 'https://')}', group_prefix: vo}}\n"
    scopes = make_context("head", outside).scopes
    assert scopes == "wlcg.groups wlcg.groups:/vo/lab wlcg.groups:/vo/lab/production", "guests open no storage"
    iam.add("ada", "vo/lab/production")
    iam.optional = {"vo/lab/production"}
    iam.person = "ada"
    flow = oauth.DeviceFlow(iam.issuer, MEMBERS)
    token = flow.wait(replace(flow.start(f"openid {scopes}"), interval=0), lambda seconds: None).access_token
    assert "/vo/lab/production" in iam.grants.tokens[token].claims["wlcg.groups"]
    plain = flow.wait(replace(flow.start("openid wlcg.groups"), interval=0), lambda seconds: None).access_token
    assert "/vo/lab/production" not in iam.grants.tokens[plain].claims["wlcg.groups"]
