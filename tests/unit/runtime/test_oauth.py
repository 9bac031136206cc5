"""The client's side of OAuth against answers that an INDIGO IAM really gives (facts of version 1.12.0)."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from typing import Any

import pytest

from farmlet.parts.access.login.words import explain
from farmlet.runtime import oauth
from farmlet.runtime.issuer.conceal import HIDDEN, conceal
from waiting import Silent
from waiting import serve as running

JWT = "eyJhbGciOiJub25lIn0.eyJqdGkiOiI0YjE3In0."  # a refresh token of an IAM: unsigned, with a dot at its end
DEVICE = "3f0c2a9e-0f6d-4a50-9a53-6b1f0a6f3a11"
Answer = tuple[int, Any, dict[str, str]]


class Handler(Silent):
    def do_GET(self) -> None:
        base = f"http://127.0.0.1:{self.server.server_address[1]}/"
        names = ("token_endpoint", "token"), ("device_authorization_endpoint", "devicecode"), ("revocation_endpoint", "revoke")
        methods = {"token_endpoint_auth_methods_supported": self.server.methods}  # type: ignore[attr-defined]
        self._say((200, {"issuer": base} | {name: base + path for name, path in names} | methods, {}))

    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self._say(self.server.answer(dict(urllib.parse.parse_qsl(text)), self.headers))  # type: ignore[attr-defined]

    def _say(self, answer: Answer) -> None:
        status, body, headers = answer
        data = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def serve(answer: Callable[[dict[str, str], Any], Answer], methods: tuple[str, ...] = ("client_secret_post",)) -> Iterator[str]:
    """An issuer that answers each POST as `answer` says."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.answer, server.methods = answer, methods  # type: ignore[attr-defined]
    with running(server):
        yield f"http://127.0.0.1:{server.server_address[1]}/"


@pytest.fixture
def refusal() -> Iterator[Callable[[int, Any], str]]:
    """An issuer that answers everything so."""
    running: list[Any] = []

    def begin(status: int, body: Any) -> str:
        running.append(serve(lambda form, headers: (status, body, {})))
        return str(running[-1].__enter__())

    yield begin
    for each in running:
        each.__exit__(None, None, None)


def test_a_revocation_that_leads_to_the_front_page_is_done() -> None:
    for place, done in (("/", True), ("", True), ("http://127.0.0.1:{port}/", True), ("/login", False), ("https://x/", False)):

        def answer(form: dict[str, str], headers: Any, place: str = place) -> Answer:
            port = str(headers["Host"]).rpartition(":")[2]
            return 302, None, {"Location": place.format(port=port) or f"http://127.0.0.1:{port}"}

        with serve(answer) as issuer:
            if done:
                oauth.revoke(issuer, "farmlet", JWT)
            else:
                with pytest.raises(oauth.Unreachable):
                    oauth.revoke(issuer, "farmlet", JWT)


@pytest.mark.parametrize("secret", ["a+b/c%d e", "plain"])
@pytest.mark.parametrize("methods", [("client_secret_basic", "client_secret_post"), ("client_secret_basic",)])
def test_a_secret_arrives_as_it_is_where_forms_are_taken(secret: str, methods: tuple[str, ...]) -> None:
    seen: list[tuple[dict[str, str], bool]] = []

    def answer(form: dict[str, str], headers: Any) -> Answer:
        seen.append((form, "Authorization" in headers))
        return 200, {"access_token": "x", "expires_in": 3599}, {}

    with serve(answer, methods) as issuer:
        oauth.obtain(issuer, "farmlet-accounts", secret, "scim:read")
    form, basic = seen[0]
    assert basic is (len(methods) == 1)
    assert basic or (form["client_id"], form["client_secret"]) == ("farmlet-accounts", secret)


def test_a_client_that_the_issuer_does_not_know_is_told_so(refusal: Callable[[int, Any], str]) -> None:
    with pytest.raises(oauth.OAuthError, match="invalid_client: it knows no client mistyped") as caught:
        oauth.DeviceFlow(refusal(404, None), "mistyped").start("openid")
    assert "does not know" in explain(caught.value, "").what


def test_a_scope_that_the_client_lacks_is_not_the_persons_fault(refusal: Callable[[int, Any], str]) -> None:
    body = {"error": "invalid_scope", "error_description": "Scope 'wlcg.groups' not allowed for client 'farmlet'"}
    with pytest.raises(oauth.OAuthError) as caught:
        oauth.DeviceFlow(refusal(400, body), "farmlet").start("openid wlcg.groups")
    told = explain(caught.value, "")
    assert "farmlet has no scope wlcg.groups" in told.what and "administrators" in (told.hint or "")
    assert "member of a group" not in f"{told.what} {told.hint}"


def test_an_iam_that_knows_no_groups_by_name_is_asked_without() -> None:
    seen: list[str] = []

    def answer(form: dict[str, str], headers: Any) -> Answer:
        seen.append(form["scope"])
        if "wlcg.groups:/lab" in form["scope"]:
            text = "Scope 'wlcg.groups:/lab' not allowed for client 'farmlet'"
            return 400, {"error": "invalid_scope", "error_description": text}, {}
        place = {"user_code": "AB", "verification_uri": "x", "device_code": "y", "expires_in": 600}
        return 200, place, {}

    with serve(answer) as issuer:
        oauth.DeviceFlow(issuer, "farmlet").start("openid wlcg.groups wlcg.groups:/lab")
    assert seen == ["openid wlcg.groups wlcg.groups:/lab", "openid wlcg.groups"]


@pytest.mark.parametrize(
    ("status", "code", "text"),
    [
        (401, "invalid_token", f"Refresh token for value {JWT} was not found"),
        (401, "invalid_token", f"Invalid refresh token: {JWT}"),
        (400, "invalid_grant", "Refresh token for value c2hvcnQ was not found"),
        (400, JWT, ""),
    ],
)
def test_an_issuers_words_are_told_without_the_token_they_repeat(
    refusal: Callable[[int, Any], str], status: int, code: str, text: str
) -> None:
    issuer = refusal(status, {"error": code, "error_description": text})
    token = "c2hvcnQ" if "c2hvcnQ" in text else JWT
    with pytest.raises(oauth.OAuthError) as caught:
        oauth.refresh(issuer, "farmlet", token)
    for told in (str(caught.value), caught.value.what, caught.value.code):
        assert token not in told and "eyJ" not in told
    assert HIDDEN in caught.value.what


def test_nor_the_code_of_a_device_nor_a_secret(refusal: Callable[[int, Any], str]) -> None:
    issuer = refusal(400, {"error": "invalid_grant", "error_description": f"Invalid device code: {DEVICE}"})
    started = oauth.Started("A", "x", "x", DEVICE, 0, 60)
    with pytest.raises(oauth.OAuthError) as caught:
        oauth.DeviceFlow(issuer, "farmlet").wait(started, lambda seconds: None)
    assert DEVICE not in str(caught.value) and "Invalid device code" in caught.value.what
    issuer = refusal(401, {"error": "invalid_client", "error_description": "no client farmlet-accounts with 'a+b'"})
    with pytest.raises(oauth.OAuthError) as caught:
        oauth.obtain(issuer, "farmlet-accounts", "a+b", "scim:read")
    assert "a+b" not in str(caught.value) and "farmlet-accounts" in caught.value.what


def test_what_is_no_token_stays_readable() -> None:
    words = "Scope 'storage.read:/data' not allowed for client '1d5f0e2c-8c1b-4a8e-9d55-0f7a5a1e6b1e' at https://iam.example.org/"
    assert conceal(words) == words
    assert conceal("two\nlines\x1b[31m") == "two lines [31m"
