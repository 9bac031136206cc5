"""A log-in by tokens of an INDIGO IAM (its stand-in): by whose, and what is said when it refuses."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from farmlet.parts.access.authority import load
from farmlet.parts.access.login.words import explain
from farmlet.runtime import oauth
from farmlet.runtime.tokens import Refused, Verifier
from indigo import MEMBERS, Client, Iam


@pytest.fixture
def iam() -> Iterator[Iam]:
    found = Iam(person="ada")
    found.add("ada", "lab")
    yield found
    found.close()


def allow(iam: Iam, client: str, scope: str, audience: str = "") -> oauth.Tokens:
    """Tokens after the consent of the member who allows everything."""
    flow = oauth.DeviceFlow(iam.issuer, client)
    return flow.wait(replace(flow.start(scope, audience), interval=0), lambda seconds: None)


def register(iam: Iam) -> str:
    """A client as anybody makes one there, without log-in; its id."""
    wish = {"client_name": "plots", "grant_types": [oauth.DEVICE_CODE], "scope": "openid", "token_endpoint_auth_method": "none"}
    request = urllib.request.Request(f"{iam.base}iam/api/client-registration", json.dumps(wish).encode())
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=10) as answer:
        return str(json.load(answer)["client_id"])


def test_a_client_that_anybody_registered_opens_no_log_in(iam: Iam) -> None:
    stranger = register(iam)
    token = allow(iam, stranger, "openid", "ssh").access_token
    with pytest.raises(Refused, match=f"the client {stranger}; a log-in is opened by tokens of {MEMBERS} alone"):
        Verifier(iam.issuer, "ssh", typed=False, clients=(MEMBERS,)).verify(token)
    for clients in ((MEMBERS, stranger), ("any",)):
        assert Verifier(iam.issuer, "ssh", typed=False, clients=clients).verify(token).client_id == stranger
    ours = allow(iam, MEMBERS, "openid", "ssh").access_token
    assert Verifier(iam.issuer, "ssh", typed=False, clients=(MEMBERS,)).verify(ours).client_id == MEMBERS


def test_the_authority_as_it_is_started_says_which_client_it_refused(iam: Iam, tmp_path: Path) -> None:
    stranger = register(iam)
    config = {"issuer": iam.issuer, "clients": [MEMBERS], "members": str(tmp_path / "accounts"), "key": "x", "host_key": "x"}
    (tmp_path / "ssh.json").write_text(json.dumps(config | {"domain": "lab.test", "hours": 12, "about": {}}))
    (tmp_path / "accounts").write_text("[]")
    authority, status = load(str(tmp_path / "ssh.json")), list[str]()
    for client, said in ((stranger, f"client {stranger}; a log-in is opened by tokens of {MEMBERS} alone"), (MEMBERS, "active")):
        token = allow(iam, client, "openid", "ssh").access_token
        environ = {"REQUEST_METHOD": "POST", "PATH_INFO": "/ssh/sign", "HTTP_AUTHORIZATION": f"Bearer {token}"}
        body = b"".join(authority(environ, lambda line, _: status.append(line)))
        assert status.pop() == "401 Unauthorized" and said in json.loads(body)["error"]


def test_tokens_of_another_profile_say_what_their_client_lacks(iam: Iam) -> None:
    iam.profile = "iam"
    iam.clients.add(Client("plain", ("openid",), (oauth.DEVICE_CODE,)))
    with pytest.raises(Refused, match="has not the scope `wlcg`"):
        Verifier(iam.issuer, "ssh", typed=False).verify(allow(iam, "plain", "openid", "ssh").access_token)


def test_a_log_out_is_a_log_out(iam: Iam) -> None:
    token = allow(iam, MEMBERS, "openid offline_access").refresh_token
    oauth.revoke(iam.issuer, MEMBERS, token)
    assert token not in iam.grants.refreshes
    with pytest.raises(oauth.OAuthError, match="invalid_token") as caught:
        oauth.refresh(iam.issuer, MEMBERS, token)
    assert token not in str(caught.value) and explain(caught.value, "x").what == "the log-in has ended"


def test_who_is_at_fault_is_told(iam: Iam) -> None:
    for client, scope, said in (
        ("mistyped", "openid", "does not know this machine's client"),
        (MEMBERS, "openid compute.read", f"its client {MEMBERS} has no scope compute.read"),
    ):
        with pytest.raises(oauth.OAuthError) as caught:
            oauth.DeviceFlow(iam.issuer, client).start(scope)
        assert said in explain(caught.value, "").what
    token = allow(iam, MEMBERS, "openid offline_access").refresh_token
    iam.publish()
    with pytest.raises(oauth.OAuthError) as caught:
        oauth.refresh(iam.issuer, MEMBERS, token)
    assert f"Sign it: {iam.issuer}iam/aup/sign" in explain(caught.value, "").what
