"""What programs send that is too much, doubled, elsewhere than it belongs, or not theirs to ask for."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from browser import Browser
from issuer import Service, claims

pytestmark = pytest.mark.service
FORM, MULTIPART = "application/x-www-form-urlencoded", "multipart/form-data; boundary=b"
PROGRAMS = ("/token/", "/token", "/device-authorization/", "/introspect/", "/revoke/")
PAGES = ("/login/", "/device/", "/logout/", "/authorize/")
READ = ("/userinfo", "/jwks", "/openapi.json", "/.well-known/openid-configuration", "/scim/v2/changes", "/", "/style.css")
OTHERS = ("/register/", "/register/none", "/scim/v2/Users", "/scim/Bulk", "/none")
FIELDS = ("scope", "audience", "resource", "client_id", "client_secret", "token", "code", "device_code", "redirect_uri")
KINDS = ("application/json", "text/plain", MULTIPART, "application/x-www-form-urlencoded; charset=x", "")
MEGABYTE = 1 << 20
ODD = ("a\0b", "a\x7fb", "a\tb", 'a"b', "a\\b", "ä", "\u202eb", "x" * 5000, "\ud800")


@pytest.fixture(scope="module")
def orla(service: Service) -> Browser:
    return service.join("orla")[0]


def send(service: Service, path: str, body: bytes, kind: str = FORM, method: str = "POST", **headers: str) -> tuple[int, bytes]:
    """Status and text of what comes back."""
    answer = service.send(path, body or None, method, Content_Type=kind, **headers)
    return answer.status, answer.text


def memory(service: Service) -> int:
    """Bytes that the service's workers hold."""
    workers = Path(f"/proc/{service.pid}/task/{service.pid}/children").read_text().split()
    return sum(int(Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0]) for pid in workers) * 1024


def multipart(size: int) -> bytes:
    head = b'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n'
    return head + b"x" * size + b"\r\n--b--\r\n"


@pytest.mark.once
@pytest.mark.parametrize("path", [*PROGRAMS, *PAGES, *READ, *OTHERS])
def test_a_megabyte_is_refused_everywhere(service: Service, path: str) -> None:
    long = b"token=" + b"x" * MEGABYTE
    many = b"&".join(b"a%d=1" % number for number in range(20000))
    for body, kind in ((long, FORM), (many, FORM), (multipart(MEGABYTE), MULTIPART), (b"[" * MEGABYTE, "application/json")):
        for method in ("POST", "PUT"):
            status, text = send(service, path, body, kind, method)
            # the page for logging out takes links of others by POST, and shows itself
            assert 400 <= status < 500 or (path == "/logout/" and status == 200), (path, kind, method, status, text[:200])


@pytest.mark.once
def test_memory_stays_bounded(service: Service) -> None:
    """Long bodies are neither kept nor written to disk: not as forms, not as files of forms."""
    before = memory(service)
    for path in ("/revoke/", "/login/", "/scim/v2/Users", "/token/"):
        for body, kind in ((b"a=" + b"x" * (16 * MEGABYTE), FORM), (multipart(16 * MEGABYTE), MULTIPART)):
            try:
                assert 400 <= send(service, path, body, kind)[0] < 500
            except urllib.error.URLError as error:  # refused before all of it was sent
                assert isinstance(error.reason, ConnectionError | ssl.SSLError), error
    assert memory(service) - before < 24 * MEGABYTE


@pytest.mark.once
@pytest.mark.parametrize("path", PROGRAMS)
@pytest.mark.parametrize("kind", KINDS)
def test_other_content_is_no_form(service: Service, path: str, kind: str) -> None:
    for body in (b'{"client_id": "farmlet"}', b"[" * 100000, b"\xff\xfe\x00", b"%ED%A0%80=%00&client_id=%ff", b"&&&=", b"="):
        status, text = send(service, path, body, kind)
        assert status in (400, 401, 415) and json.loads(text)["error"], (status, text)


@pytest.mark.parametrize("path", ["/token/", "/device-authorization/", "/introspect/", "/revoke/"])
@pytest.mark.parametrize("name", ["scope", "client_id", "token", "grant_type", "device_code", "refresh_token", "code"])
def test_parameters_given_twice(service: Service, path: str, name: str) -> None:
    """RFC 6749 §3.1 and §3.2: invalid_request, whatever else may be wrong."""
    form = {"client_id": "farmlet", "grant_type": "refresh_token", "token": "x", "scope": "openid", "refresh_token": "x"}
    text = urllib.parse.urlencode(form | {name: "openid"}) + f"&{name}=openid"
    status, answer = send(service, path, text.encode())
    assert (status, json.loads(answer)["error"]) == (400, "invalid_request")


@pytest.mark.parametrize("path", ["/token/", "/device-authorization/", "/introspect/", "/revoke/"])
def test_parameters_do_not_belong_into_the_url(service: Service, path: str) -> None:
    """They would stand in the logs of whatever lies between (RFC 6749 §2.3.1 and §3.2)."""
    for query in ("client_id=farmlet&scope=openid", "token=x", "client_secret=x", "grant_type=client_credentials"):
        status, answer = send(service, f"{path}?{query}", b"client_id=farmlet&token=x")
        assert (status, json.loads(answer)["error"]) == (400, "invalid_request"), (query, answer)


def test_tokens_do_not_belong_into_the_url(service: Service, orla: Browser) -> None:
    token = service.connect(orla, scope="openid")["access_token"]
    for path in ("/userinfo", "/scim/v2/Me", "/scim/v2/Users"):
        assert send(service, f"{path}?access_token={token}", b"", method="GET")[0] == 401
    assert send(service, "/userinfo", f"access_token={token}".encode())[0] == 401


@pytest.mark.parametrize("text", ODD, ids=ascii)
def test_odd_texts_at_every_field(service: Service, text: str) -> None:
    """Neither database, header nor log may choke on them; each is refused or harmless."""
    value = urllib.parse.quote(text, errors="surrogatepass")
    for path in PROGRAMS:
        for name in FIELDS:
            form = f"client_id=farmlet&grant_type=refresh_token&refresh_token=x&token=x&{name}={value}"
            form = form.replace("client_id=farmlet&", "") if name == "client_id" else form
            status, answer = send(service, path, form.encode())
            assert status < 500, (path, name, answer)
    for path in ("/device/?user_code=", "/join/", "/register/", "/scim/Users/", "/login/?next=", "/authorize?client_id="):
        assert send(service, f"{path}{value[:3000]}", b"", method="GET")[0] < 500, path


@pytest.mark.parametrize("text", sorted({*ODD} - {"a\tb"}), ids=ascii)  # blanks separate
def test_odd_audiences_are_no_target(service: Service, text: str) -> None:
    value = urllib.parse.quote(text, errors="surrogatepass")
    for name in ("audience", "resource"):
        status, answer = send(service, "/device-authorization/", f"client_id=farmlet&{name}=https://x/{value}".encode())
        assert (status, json.loads(answer)["error"]) == (400, "invalid_target"), (name, answer)


@pytest.mark.once
def test_audiences_as_far_as_storage_takes_the_token(service: Service, orla: Browser) -> None:
    """What counts is how long they are together."""
    many = [f"https://storage-{number:02}.example.org:1094" for number in range(50)]
    service.do("client", "ensure", "many", "--public", "--grant=device,refresh")
    scope = "offline_access storage.read:/ storage.modify:/ storage.create:/ wlcg.groups"
    token = service.connect(orla, "many", scope=scope, audience=" ".join(many))
    answer = service.refresh(token["refresh_token"], "many", audience=" ".join(many))
    found = answer.body["access_token"]
    assert claims(found)["aud"] == many and 3000 < len(found) <= 4096  # XRootD's own limit (`ztn -maxsz`)
    much = {"client_id": "many", "audience": " ".join([*many, "https://" + "x" * 200])}
    assert service.request("/device-authorization/", much).body["error"] == "invalid_target"


@pytest.mark.timeout(30)
def test_ten_thousand_scopes(service: Service, orla: Browser) -> None:
    """They cost the sender more than us, whoever sends them."""
    many = " ".join(f"storage.read:/{number}" for number in range(10000))
    connected = service.connect(orla, scope="openid offline_access storage.read:/")
    answers = [
        service.request("/device-authorization/", {"client_id": "farmlet", "scope": many}),
        service.refresh(connected["refresh_token"], scope=many),
        service.token({"grant_type": "client_credentials", "scope": many}, basic=service.basic("accounts")),
    ]
    assert [answer.body["error"] for answer in answers] == ["invalid_scope"] * 3
    several = " ".join(f"storage.read:/{number}" for number in range(50))
    assert service.connect(orla, scope=several)["scope"] == several


def test_another_clients_audience_code_and_token(service: Service, orla: Browser) -> None:
    """`batch` is registered for data; what others were given is nothing to it."""
    for name in ("audience", "resource"):
        form = {"client_id": "batch", "scope": "storage.read:/", name: "https://hub.example.org"}
        assert service.request("/device-authorization/", form).body["error"] == "invalid_target"
    started, connected = service.begin(), service.connect(orla)
    service.allow(orla, started)
    assert service.redeem(started, "batch").body["error"] == "invalid_grant"
    assert service.refresh(connected["refresh_token"], "batch").body["error"] == "invalid_grant"
    own = service.connect(orla, "batch", scope="offline_access storage.read:/")
    assert service.refresh(own["refresh_token"], "batch", audience="https://hub.example.org").body["error"] == "invalid_target"
    assert service.redeem(started).status == 200 and service.refresh(connected["refresh_token"]).status == 200
    assert claims(own["access_token"])["aud"] == "https://wlcg.cern.ch/jwt/v1/any"


@pytest.mark.parametrize("text", ["' OR '1'='1", "'; DROP TABLE identity_client;--", "*)(uid=*", "*", "\\2a", "%", "_armlet"])
def test_metacharacters_find_nobody(service: Service, text: str) -> None:
    """In names of clients, tokens and codes."""
    for form in ({"client_id": text}, {"client_id": "farmlet", "token": text}, {"client_id": "farmlet", "refresh_token": text}):
        grant: dict[str, Any] = {"grant_type": "refresh_token", "refresh_token": "x", **form}
        assert service.token(grant).body["error"] == ("invalid_client" if form["client_id"] == text else "invalid_grant")
    assert service.request("/introspect/", {"token": text}, basic=service.basic("accounts")).body == {"active": False}
    assert service.token({"grant_type": "client_credentials"}, basic=f"accounts:{text}").status == 401
