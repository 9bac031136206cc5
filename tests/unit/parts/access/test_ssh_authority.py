"""The authority behind its WSGI face, with real tokens (ES256, joserfc) and the real ssh-keygen."""

from __future__ import annotations

import io
import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

from farmlet.parts.access import certificates
from farmlet.parts.access.authority import Authority, known_hosts
from farmlet.runtime import tokens
from farmlet.runtime.oauth import Unreachable

ISSUER = "https://service.farmlet.test"
KEY = ECKey.generate_key("P-256", {"kid": "k1", "use": "sig"})


class Local(tokens.Verifier):
    """The real verifier, with keys that need no server."""

    def __init__(self, there: bool = True, clients: tuple[str, ...] = ("farmlet",)) -> None:
        super().__init__(ISSUER, "ssh", clients=clients)
        self._there = there

    def _load(self) -> KeySet:
        if not self._there:
            raise Unreachable(ISSUER, "no answer")
        return KeySet([KEY])


def token(**more: Any) -> str:
    now = int(time.time())
    claims = {"iss": ISSUER, "sub": "uuid-1", "aud": "ssh", "exp": now + 60, "iat": now, "nbf": now, "jti": "j1"}
    claims |= {"preferred_username": "alice", "client_id": "farmlet", "scope": "openid"} | more
    return jwt.encode({"alg": "ES256", "kid": "k1", "typ": "at+jwt"}, claims, KEY)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("user", "host", "mine"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)], check=True)
    return tmp_path


def post(
    folder: Path,
    bearer: str | None,
    body: Any = None,
    there: bool = True,
    members: Path | None = None,
    clients: tuple[str, ...] = ("farmlet",),
) -> tuple[str, dict[str, Any], dict[str, str]]:
    body = {"public_key": (folder / "mine.pub").read_text()} if body is None else body
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    environ: dict[str, Any] = {"REQUEST_METHOD": "POST", "PATH_INFO": "/ssh/sign", "CONTENT_LENGTH": str(len(data))}
    environ |= {"wsgi.input": io.BytesIO(data)} | ({"HTTP_AUTHORIZATION": bearer} if bearer else {})
    said: list[tuple[str, dict[str, str]]] = []
    verifier = Local(there, clients)
    verifier.typed = members is None
    authority = Authority(verifier, folder / "user", folder / "host", "farmlet.test", 12, members)
    answer = b"".join(authority(environ, lambda status, headers: said.append((status, dict(headers)))))
    return said[0][0], json.loads(answer), said[0][1]


def test_a_members_key_is_signed_for_that_member_alone(folder: Path) -> None:
    status, answer, _ = post(folder, f"Bearer {token()}")
    assert status == "200 OK"
    found = certificates.describe(answer["certificate"])
    assert found.principals == ("alice",) == (answer["principal"],)
    assert found.key == certificates.fingerprint((folder / "mine.pub").read_text())
    assert abs(found.end.timestamp() - answer["expires"]) < 60


@pytest.mark.parametrize(
    "more",
    [{"aud": "other"}, {"exp": 1}, {"iss": "https://other"}, {"preferred_username": "root"}, {"preferred_username": ""},
     {"preferred_username": "alice,root"}, {"preferred_username": "-h"}],
)  # fmt: skip
def test_other_tokens_are_refused(folder: Path, more: dict[str, Any]) -> None:
    status, answer, headers = post(folder, f"Bearer {token(**more)}")
    assert status.startswith("401")
    assert "certificate" not in answer
    assert headers["WWW-Authenticate"].startswith("Bearer")


def test_a_token_of_another_key_is_refused(folder: Path) -> None:
    stranger = ECKey.generate_key("P-256", {"kid": "k1"})
    claims = {"iss": ISSUER, "sub": "x", "aud": "ssh", "exp": int(time.time()) + 60, "preferred_username": "alice"}
    assert post(folder, f"Bearer {jwt.encode({'alg': 'ES256', 'kid': 'k1', 'typ': 'at+jwt'}, claims, stranger)}")[0].startswith(
        "401"
    )


@pytest.mark.parametrize("more", [{"client_id": "plot"}, {"client_id": ""}, {"act": {"sub": "plot"}}])
def test_a_token_that_was_given_to_another_program_is_refused(folder: Path, more: dict[str, Any]) -> None:
    """Whoever may ask for the audience: an INDIGO IAM gives it to any client, and asks nobody."""
    status, answer, _ = post(folder, f"Bearer {token(**more)}")
    assert status.startswith("401") and "given to" in answer["error"]
    assert more.get("client_id", "farmlet") in answer["error"], "it says to which client"


def test_tokens_of_each_client_that_the_file_names_count(folder: Path) -> None:
    more: dict[str, Any]
    for clients, more, good in (
        (("members", "oidc-agent"), {"client_id": "oidc-agent"}, True),
        (("members", "oidc-agent"), {"client_id": "any"}, False),
        (("any",), {"client_id": "somebodys"}, True),
        (("any",), {"client_id": "somebodys", "act": {"sub": "plot"}}, False),
    ):
        assert post(folder, f"Bearer {token(**more)}", clients=clients)[0].startswith("200" if good else "401"), (clients, more)


def test_until_the_facility_file_names_its_client_there_is_no_certificate(folder: Path) -> None:
    for name in ("farmlet", ""):
        status, answer, _ = post(folder, f"Bearer {token(client_id=name)}", clients=())
        assert status.startswith("401") and "known here" in answer["error"]


@pytest.mark.parametrize("bearer", [None, "", "Basic YTpi", "Bearer", "Bearer x.y.z"])
def test_without_a_token_nothing_is_signed(folder: Path, bearer: str | None) -> None:
    assert post(folder, bearer)[0].startswith("401")


BAD: list[Any] = [[], {}, {"public_key": 1}, {"public_key": ""}, {"public_key": "ssh-rsa AAAA"}, "x" * 9000, b"[" * 8000]


@pytest.mark.parametrize("body", BAD)
def test_bad_requests_are_told(folder: Path, body: Any) -> None:
    status, answer, _ = post(folder, f"Bearer {token()}", body)
    assert status.startswith("400")
    assert answer["error"]


def test_a_silent_issuer_is_no_refusal(folder: Path) -> None:
    assert post(folder, f"Bearer {token()}", there=False)[0].startswith("503")


def test_it_says_what_a_members_machine_must_know(folder: Path) -> None:
    said: list[str] = []
    authority = Authority(Local(), folder / "user", folder / "host", "farmlet.test", 12, about={"name": "lab", "domain": "x"})
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/ssh/about"}
    answer = json.loads(b"".join(authority(environ, lambda status, headers: said.append(status))))
    assert said == ["200 OK"] and (answer["name"], answer["domain"], answer["hours"]) == ("lab", "farmlet.test", 12)
    assert answer["authority"] == known_hosts("farmlet.test", (folder / "host.pub").read_text()).strip()


def test_the_known_hosts_line_trusts_the_domain_only() -> None:
    assert known_hosts("farmlet.test", "ssh-ed25519 AAAA lab hosts") == (
        "@cert-authority *.farmlet.test,farmlet.test ssh-ed25519 AAAA\n"
    )


def test_with_an_external_issuer_the_name_is_the_one_given_to_the_sub(folder: Path) -> None:
    listing = folder / "accounts"
    rows = [
        ("uuid-0", "carol", "active"),
        ("uuid-1", "grace", "active"),
        ("uuid-2", "dan", "suspended"),
        ("uuid-3", "eve", "removed"),
    ]
    listing.write_text(json.dumps([{"sub": sub, "name": name, "state": state} for sub, name, state in rows]))
    # whatever the issuer calls them: `alice` may be somebody else's name here
    status, answer, _ = post(folder, f"Bearer {token(preferred_username='carol')}", members=listing)
    assert (status, answer["principal"]) == ("200 OK", "grace")
    for sub in ("uuid-2", "uuid-3", "uuid-9"):
        status, answer, _ = post(folder, f"Bearer {token(sub=sub)}", members=listing)
        assert status.startswith("401") and "no active member" in answer["error"]
    listing.unlink()
    assert post(folder, f"Bearer {token()}", members=listing)[0].startswith("500")
