from __future__ import annotations

import base64
import hmac
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import ThreadingHTTPServer
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey

from farmlet.runtime import tokens
from farmlet.runtime.oauth import DeviceFlow, Lost, OAuthError, Unreachable, load_metadata, refresh, refresh_at
from farmlet.runtime.tokens import Refused, Verifier, check
from waiting import Silent, serve

KEY = ECKey.generate_key("P-256", {"kid": "one"})
OTHER = ECKey.generate_key("P-256", {"kid": "two"})
ISSUER = "https://issuer.example.org"
KEYS = KeySet([KEY])


def sign(key: Any = KEY, alg: str = "ES256", typ: str = "at+jwt", **changes: Any) -> str:
    now = time.time()
    claims = {"iss": ISSUER, "sub": "u", "aud": "se", "exp": now + 60, "iat": now, "nbf": now, "scope": "openid x:/y"}
    claims = {name: value for name, value in {**claims, **changes}.items() if value is not None}
    return jwt.encode({"alg": alg, "typ": typ, "kid": key.kid}, claims, key, algorithms=[alg])


def test_good_token() -> None:
    extra = {"preferred_username": "alice", "wlcg.groups": ["/lab"], "act": {"sub": "carol"}, "client_id": "farmlet"}
    claims = check(sign(**extra), KEYS, ISSUER, ("se", "other"))
    assert (claims.sub, claims.username, claims.groups, claims.actor) == ("u", "alice", ("/lab",), "carol")
    assert claims.scopes == {"openid", "x:/y"} and claims.audience == ("se",)
    assert check(sign(aud=["a", "se"]), KEYS, ISSUER, ("se",)).audience == ("a", "se")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"iss": ISSUER + "/"}, "issuer"),
        ({"aud": "other"}, "meant for"),
        ({"aud": None}, "meant for"),
        ({"aud": ["other"]}, "meant for"),
        ({"exp": time.time() - 3600}, "expired"),
        ({"exp": None}, "no number"),
        ({"exp": "tomorrow"}, "no number"),
        ({"exp": True}, "no number"),
        ({"exp": 10**400}, "no number"),
        ({"exp": float("inf")}, "no number"),
        ({"nbf": float("nan")}, "no number"),
        ({"nbf": time.time() + 3600}, "not valid yet"),
        ({"iat": time.time() + 3600}, "not valid yet"),
        ({"sub": None}, "missing"),
        ({"scope": ["openid"]}, "no text"),
        ({"wlcg.groups": "/lab"}, "no list"),
        ({"typ": "JWT"}, "not an access token"),
        ({"key": OTHER}, "signature"),
    ],
)
def test_bad_tokens(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        check(sign(**changes), KEYS, ISSUER, ("se",))


def test_algorithms_are_not_the_tokens_choice() -> None:
    head, body, _ = sign().split(".")

    def encode(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).decode().rstrip("=")

    # the public key taken as the secret of an HMAC, and no signature at all
    weak = encode(b'{"alg":"HS256","typ":"at+jwt","kid":"one"}')
    seal = hmac.digest(KEY.as_pem(private=False), f"{weak}.{body}".encode(), "sha256")
    none = encode(b'{"alg":"none","typ":"at+jwt","kid":"one"}')
    for token in (f"{weak}.{body}.{encode(seal)}", f"{none}.{body}.", f"{head}.{body}.", "", "a.b.c", "äöü"):
        with pytest.raises(Refused):
            check(token, KEYS, ISSUER, ("se",))
    rsa = RSAKey.generate_key(2048, {"kid": "rsa"})
    assert check(sign(rsa, "RS256"), KeySet([KEY, rsa]), ISSUER, ("se",)).sub == "u"


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
)
NAMES = st.sampled_from(["alg", "kid", "typ", "crit", "jwk", "jku", "x5c", "x5u", "b64", "zip", "enc", "p2c", "cty"])
CLAIMS = ["iss", "sub", "aud", "exp", "nbf", "iat", "scope", "wlcg.groups", "act", "jti", "client_id", "preferred_username"]


@given(st.dictionaries(NAMES, JSON) | JSON, st.dictionaries(st.sampled_from(CLAIMS), JSON) | JSON)
def test_whatever_stands_in_a_token_it_is_refused_in_words(header: Any, body: Any) -> None:
    if isinstance(header, dict):
        header = {"alg": "ES256", "kid": "one", "typ": "at+jwt"} | header
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in (header, body)]
    with pytest.raises(Refused):
        check(".".join([*parts, "AAAA"]), KEYS, ISSUER, ("se",))
    assert tokens._kid(".".join([*parts, "AAAA"])) is None or isinstance(header, dict)


@given(st.dictionaries(st.sampled_from(CLAIMS), JSON))
def test_whatever_the_issuer_signs_is_taken_or_refused_in_words(changes: dict[str, Any]) -> None:
    with suppress(Refused):
        claims = check(sign(**changes), KEYS, ISSUER, ("se",))
        assert claims.issuer == ISSUER and claims.sub and time.time() - 11 < claims.expires < 1e11


def test_a_header_that_asks_for_more_is_refused() -> None:
    for crit in ([], ["b64"]):
        token = jwt.encode({"alg": "ES256", "typ": "at+jwt", "kid": "one", "crit": crit, "b64": True}, {}, KEY)
        with pytest.raises(Refused, match="demands"):
            check(token, KEYS, ISSUER, None)


class Issuer:
    """An issuer of answers: path → (status, body)."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, Any]] = {}
        self.asked: list[str] = []
        issuer = self

        class Handler(Silent):
            def do_GET(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                self.rfile.read(length)
                issuer.asked.append(self.path)
                status, body = issuer.answers.get(self.path, (404, {}))
                if isinstance(body, list):
                    status, body = body.pop(0)
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", f"{issuer.url}/elsewhere")
                self.end_headers()
                self.wfile.write(body if isinstance(body, bytes) else json.dumps(body).encode())

            do_POST = do_GET

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        names = {"jwks_uri": "jwks", "token_endpoint": "token", "device_authorization_endpoint": "device"}
        metadata = {"issuer": self.url, **{name: f"{self.url}/{path}" for name, path in names.items()}}
        self.answers["/.well-known/openid-configuration"] = (200, metadata)
        self.publish(KEY)

    def publish(self, *keys: ECKey) -> None:
        self.answers["/jwks"] = (200, {"keys": [key.as_dict(private=False) for key in keys]})


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    made = Issuer()
    with serve(made.server):
        yield made


def test_verifier_asks_for_keys_once(issuer: Issuer) -> None:
    verifier = Verifier(issuer.url, "se")
    for _ in range(3):
        assert verifier.verify(sign(iss=issuer.url)).sub == "u"
    assert issuer.asked.count("/jwks") == 1
    with pytest.raises(Refused, match="meant for"):
        verifier.verify(sign(iss=issuer.url, aud="other"))


def test_verifier_finds_new_keys_and_drops_old_ones(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 1000.0
    monkeypatch.setattr(tokens.time, "monotonic", lambda: clock)
    verifier = Verifier(issuer.url, "se")
    verifier.verify(sign(iss=issuer.url))
    issuer.publish(OTHER)
    clock += 6
    assert verifier.verify(sign(OTHER, iss=issuer.url)).sub == "u"  # an unknown key: asked at once
    with pytest.raises(Refused):
        verifier.verify(sign(iss=issuer.url))  # withdrawn
    before = len(issuer.asked)
    for _ in range(5):
        with pytest.raises(Refused):
            verifier.verify(sign(iss=issuer.url))
    assert len(issuer.asked) == before  # nobody can make us ask all the time


def test_withdrawn_key_is_refused_within_a_minute(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 1000.0
    monkeypatch.setattr(tokens.time, "monotonic", lambda: clock)
    verifier = Verifier(issuer.url, "se")
    verifier.verify(sign(iss=issuer.url))
    issuer.publish(OTHER)
    clock += 61
    with pytest.raises(Refused):
        verifier.verify(sign(iss=issuer.url))


def test_verifier_outlives_a_silent_issuer_for_an_hour(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 1000.0
    monkeypatch.setattr(tokens.time, "monotonic", lambda: clock)
    verifier = Verifier(issuer.url, "se")
    verifier.verify(sign(iss=issuer.url))
    issuer.answers["/jwks"] = (503, {})
    clock += 3000
    assert verifier.verify(sign(iss=issuer.url)).sub == "u"
    clock += 700
    with pytest.raises(Unreachable):
        verifier.verify(sign(iss=issuer.url))


def test_metadata_of_another_issuer_is_refused(issuer: Issuer) -> None:
    issuer.answers["/.well-known/openid-configuration"] = (200, {"issuer": "https://issuer.example.org"})
    with pytest.raises(Unreachable, match="another issuer"):
        load_metadata(issuer.url)
    with pytest.raises(Unreachable, match="https"):
        load_metadata("http://issuer.example.org")


def test_waiting_for_a_person(issuer: Issuer) -> None:
    started = {"device_code": "d", "user_code": "u", "verification_uri": "v", "expires_in": 60, "interval": 1}
    issuer.answers["/device"] = (200, started)
    good = {"access_token": "a", "refresh_token": "r", "expires_in": 60, "scope": "openid"}
    pending = (400, {"error": "authorization_pending"})
    issuer.answers["/token"] = (0, [pending, (503, b"busy"), (400, {"error": "slow_down"}), (200, good)])
    slept: list[float] = []
    flow = DeviceFlow(issuer.url, "farmlet")
    tokens = flow.wait(flow.start("openid"), slept.append)
    assert tokens.refresh_token == "r" and slept == [1, 1, 6, 11]
    assert "'a'" not in repr(tokens)


def test_refusals_keep_their_code(issuer: Issuer) -> None:
    issuer.answers["/token"] = (400, {"error": "invalid_grant", "error_description": "gone"})
    with pytest.raises(OAuthError, match="gone") as refused:
        refresh(issuer.url, "farmlet", "r")
    assert refused.value.code == "invalid_grant" and refused.value.status == 400
    for answer in ((200, b"<html>"), (200, {}), (500, {"error": "server_error"}), (302, {})):
        issuer.answers["/token"] = answer
        with pytest.raises(Unreachable):
            refresh(issuer.url, "farmlet", "r")
    assert "/elsewhere" not in issuer.asked


def take(server: socket.socket) -> None:
    """The whole request, and then no answer."""
    with server.accept()[0] as connection:
        said = b""
        while b"client_id=farmlet" not in said:
            said += connection.recv(4096)


def test_a_request_that_may_have_been_taken_is_told_from_one_that_was_not(issuer: Issuer) -> None:
    """Where an answer is lost the refresh token may have been replaced."""
    for answer, lost in (
        ((500, {}), False),
        ((503, b"busy"), False),
        ((502, b""), True),
        ((504, b""), True),
        ((200, b"{"), True),
    ):
        issuer.answers["/token"] = answer
        with pytest.raises(Unreachable) as failed:
            refresh(issuer.url, "farmlet", "r")
        assert isinstance(failed.value, Lost) == lost, answer
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/token"
        with pytest.raises(Lost):
            refresh_at(url, "farmlet", "r", timeout=0.2)
        silent.accept()[0].close()  # the one that nobody waits for any more
        closed = threading.Thread(target=lambda: take(silent))
        closed.start()
        with pytest.raises(Lost):
            refresh_at(url, "farmlet", "r", timeout=30)
        closed.join()
    for cafile, address in ((None, url), (None, "http://localhost:1/token"), ("/nowhere", url)):
        with pytest.raises(Unreachable) as failed:
            refresh_at(address, "farmlet", "r", cafile)
        assert not isinstance(failed.value, Lost)


def test_an_issuer_that_gives_no_type_is_judged_by_its_claims() -> None:
    """INDIGO IAM's access tokens have no `typ`; its ID tokens have no `scope`, and say what only those say."""

    def untyped(**changes: Any) -> str:
        now = int(time.time())
        claims = {"iss": ISSUER, "sub": "u", "aud": "se", "exp": now + 60, "scope": "openid"} | changes
        claims = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode({"alg": "ES256", "kid": KEY.kid}, claims, KEY)

    assert check(untyped(), KEYS, ISSUER, ("se",), typed=False).sub == "u"
    assert check(sign(), KEYS, ISSUER, ("se",), typed=False).sub == "u"
    with pytest.raises(Refused, match="not an access token"):
        check(untyped(), KEYS, ISSUER, ("se",))
    for changes in ({"scope": None}, {"nonce": "n"}, {"at_hash": "h"}, {"events": {}}):
        with pytest.raises(Refused, match="not an access token"):
            check(untyped(**changes), KEYS, ISSUER, ("se",), typed=False)
    with pytest.raises(Refused, match="not an access token"):
        check(sign(typ="logout+jwt"), KEYS, ISSUER, ("se",), typed=False)
