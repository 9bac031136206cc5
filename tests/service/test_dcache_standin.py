"""The stand-in for a dCache is as a real one was observed to be (tests/dcache; § as there)."""

from __future__ import annotations

import base64
import hashlib
import ssl
import subprocess
import time
import zlib
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
from joserfc.jwk import ECKey

from dcache import PREFIX
from dcache.centre import AUDIENCE, ISSUER, Centre
from waiting import Silent, serve, until

pytestmark = pytest.mark.service
DATA = b"of ada" * 1000


@pytest.fixture
def centre(running: Centre) -> Centre:
    """Empty, and without a memory of others."""
    running.reset()
    running.dcache.authority.errors = 1000
    return running


# §1 trust


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": f"{ISSUER}/"},
        {"aud": f"{AUDIENCE}/"},
        {"aud": "localhost"},
        {"wlcg.ver": "1.1"},
        {"wlcg.ver": None},
        {"scope": None},
        {"scope": "storage.read"},
        {"scope": "storage.read:/ storage.modify:/%zz"},
        {"exp": lambda: int(time.time()) - 1},
        {"nbf": lambda: int(time.time()) + 60},
        {"key": lambda: ECKey.generate_key("P-256", {"kid": "first"})},
    ],
    ids=",".join,
)
def test_a_token_that_is_not_taken_gets_401_and_never_a_reason(centre: Centre, claims: dict[str, object]) -> None:
    claims = {name: value() if callable(value) else value for name, value in claims.items()}
    answer = centre.ask("GET", "/", centre.token(**claims))  # type: ignore[arg-type]
    assert (answer.status, answer.body, answer.phrase) == (401, b"", "login failed")
    assert answer.headers["www-authenticate"] == 'Basic realm=""'


@pytest.mark.parametrize("token", ["", "x", "a.b.c"])
def test_no_token_and_a_broken_one_too(centre: Centre, token: str) -> None:
    assert centre.ask("GET", "/", token).status == 401
    good = centre.token()
    assert centre.ask("GET", f"/?authz=Bearer%20{good}").status == centre.ask("GET", f"/?access_token={good}").status == 401


def test_what_is_taken(centre: Centre) -> None:
    nameless = ECKey.import_key(centre.keys[0].as_pem(private=True))
    for claims in ({"aud": None}, {"aud": ["other", AUDIENCE]}, {"iat": int(time.time()) + 600}, {"key": nameless}):
        assert centre.ask("GET", "/", centre.token(**claims)).status == 200, claims


def test_scopes_are_verbs_on_paths(centre: Centre) -> None:
    every = centre.token()
    assert centre.ask("PUT", "/users/ada/old", every, DATA).status == 201
    path = "/users/ada/old"
    reader, maker, writer = (centre.token(f"storage.{verb}:/users/ada") for verb in ("read", "create", "modify"))
    assert [centre.ask("GET", path, one).status for one in (reader, maker, writer)] == [302, 403, 403]
    assert [centre.ask("HEAD", path, one).status for one in (reader, maker, writer)] == [200, 200, 200]
    assert [centre.ask("PUT", path, one, b"x").status for one in (reader, maker, writer)] == [403, 403, 201]
    assert [centre.ask("PUT", f"{path}er", one, b"x").status for one in (reader, maker)] == [403, 201]
    assert [centre.ask("DELETE", path, one).status for one in (reader, maker, writer)] == [403, 403, 204]
    for other in ("compute.read", "storage.read:/users/ad", "storage.read:/../users/ben", "openid wlcg.groups"):
        assert centre.ask("GET", "/users/ada/older", centre.token(other)).status == 403
    assert centre.ask("GET", "/users/ada/older", centre.token("storage.read:/users/%61da")).status == 302


def test_folders_above_are_open_to_be_looked_at(centre: Centre) -> None:
    for name in ("ada", "ben"):
        centre.ask("PUT", f"/users/{name}/file", centre.token(), DATA)
    mine = centre.token("storage.read:/users/ada")
    assert b'<a href="ben">' in centre.ask("GET", "/users", mine).body
    assert centre.ask("PROPFIND", "", mine, url=f"{centre.dcache.url}/pnfs").status == 207
    assert centre.ask("GET", "/users/ben/file", mine).status == centre.ask("GET", "/users/ben", mine).status == 403
    denied = centre.ask("PUT", "/users/ben/file", mine, b"x")
    assert denied.status == 403 and denied.body.decode() == f"Permission denied for PUT on path {PREFIX}/users/ben/file"


# §2 time


def test_answers_are_remembered_the_good_and_the_bad(centre: Centre) -> None:
    centre.dcache.authority.behind = 2
    fresh = centre.token(nbf=int(time.time()))
    assert centre.ask("GET", "/", fresh).status == 401
    centre.dcache.authority.behind = 0
    assert centre.ask("GET", "/", fresh).status == 401, "although it is good by now"
    good = centre.token()
    assert centre.ask("GET", "/", good).status == 200
    centre.dcache.authority.behind = -3600
    assert centre.ask("GET", "/", good).status == 200, "although it has ended"
    assert centre.ask("GET", "/", centre.token()).status == 401


def test_keys_are_kept_for_hours(centre: Centre) -> None:
    assert centre.ask("GET", "/", centre.token()).status == 200
    old, new = centre.keys[0], ECKey.generate_key("P-256", {"kid": "second"})
    try:
        centre.keys[:] = [new]
        assert centre.ask("GET", "/", centre.token()).status == 401
        assert centre.ask("GET", "/", centre.token(key=old)).status == 200, "which is withdrawn"
        assert centre.fetched == 1
        centre.dcache.authority._fetched -= 6 * 3600
        assert centre.ask("GET", "/", centre.token()).status == 200
    finally:
        centre.keys[:] = [old]


# §3 too many errors


def test_the_third_401_blocks_the_address(centre: Centre) -> None:
    authority = centre.dcache.authority
    authority.errors, authority.block, authority.forget_errors = 3, 0.5, 20
    good = centre.token()
    for _ in range(3):  # 403 and 404 do not count
        assert centre.ask("GET", "/nothing", good).status == 404
        assert centre.ask("GET", "/", centre.token("compute.read")).status == 403
    assert [centre.ask("GET", "/", "x").status for _ in range(4)] == [401, 401, 401, 429]
    busy = centre.ask("GET", "/", good)
    assert (busy.status, busy.body) == (429, b"Server is busy. Please try again later.")
    until(lambda: centre.ask("GET", "/", good).status == 200)
    authority.forget_errors = 0
    assert {centre.ask("GET", "/", "x").status for _ in range(5)} == {401}


# §4 requests


def test_data_comes_from_the_pool_whose_url_is_the_ticket(centre: Centre) -> None:
    token = centre.token()
    assert centre.ask("PUT", "/file", token, DATA).status == 201
    place = centre.lead("GET", "/file", token)
    assert place.startswith(f"https://127.0.0.1:{centre.dcache.ports[1]}{PREFIX}/file?dcache-http-uuid=")
    assert centre.ask("GET", "", url=place).body == DATA
    part = centre.ask("GET", "", url=place, Range="bytes=2-5")
    assert (part.status, part.body) == (206, DATA[2:6])
    assert centre.ask("GET", "", url=place[:-4]).status == 404
    centre.dcache.redirect = False
    assert centre.ask("GET", "/file", token).body == DATA


def test_an_upload_that_expects_is_led_to_the_pool(centre: Centre) -> None:
    token = centre.token()
    led = centre.ask("PUT", "/new/file", token, Expect="100-continue", Content_Length="6000")
    assert led.status == 307 and led.headers["connection"] == "close"
    assert centre.ask("HEAD", "/new/file", token).headers.get("content-length") is None
    assert centre.ask("GET", "/new/file", token).body == b"File upload not yet completed"
    assert centre.ask("PUT", "", body=DATA, url=led.headers["location"]).status == 201
    assert centre.read("/new/file") == DATA
    assert centre.ask("HEAD", "/new/file", token).headers["content-length"] == str(len(DATA))


def test_curl_as_it_is_loses_what_it_sends_and_gets(centre: Centre, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(DATA * 300)
    words = ["curl", "-sS", "--fail", "--cacert", centre.cafile, "-H", f"Authorization: Bearer {centre.token()}"]
    sent = subprocess.run([*words, "-T", tmp_path / "data", f"{centre.dcache.base}/lost"], check=True, capture_output=True)
    assert sent.returncode == 0 and centre.dcache.namespace.entries[f"{PREFIX}/lost"].length is None
    subprocess.run([*words, "-L", "-T", tmp_path / "data", f"{centre.dcache.base}/kept"], check=True)
    assert centre.read("/kept") == DATA * 300
    subprocess.run([*words, "-o", tmp_path / "back", f"{centre.dcache.base}/kept"], check=True)
    assert (tmp_path / "back").read_bytes() == b""
    with (tmp_path / "data").open("rb") as file:
        subprocess.run([*words, "-L", "-T", "-", f"{centre.dcache.base}/piped"], check=False, stdin=file)
    assert centre.read("/piped") == DATA * 300


def test_what_breaks_off_leaves_an_entry_at_the_pool_and_none_at_the_door(centre: Centre) -> None:
    token = centre.token()
    centre.break_off(centre.lead("PUT", "/file", token), b"half")
    until(lambda: centre.ask("HEAD", "/file", token, Want_Digest="adler32").headers.get("content-length") == "4")
    left = centre.ask("HEAD", "/file", token, Want_Digest="adler32")
    assert left.headers["digest"] == f"adler32={zlib.adler32(b'half'):08x}"
    assert centre.ask("GET", "/file", token).status == 500
    assert centre.ask("PUT", "/file", token, DATA).status == 201 and centre.read("/file") == DATA
    centre.break_off(f"{centre.dcache.base}/other", b"half", token)
    until(lambda: centre.ask("HEAD", "/other", token).status == 404)


def test_the_later_of_two_uploads_wins(centre: Centre) -> None:
    token = centre.token()
    first, second = (centre.lead("PUT", "/file", token) for _ in range(2))
    assert centre.ask("PUT", "", body=b"second", url=second).status == 201
    assert centre.ask("PUT", "", body=b"first", url=first).status == 500
    assert centre.read("/file") == b"second"


def test_parents_are_made_by_put_alone(centre: Centre) -> None:
    token, there = centre.token(), {"Destination": f"{centre.dcache.base}/no/file", "Credential": "none"}
    assert centre.ask("PUT", "/a/b/file", token, DATA).status == 201
    assert centre.ask("MKCOL", "/no/folder", token).status == 409
    assert centre.ask("MKCOL", "/a/b", token).status == 405
    assert centre.ask("MKCOL", "/a/c", token).status == 201
    assert centre.ask("MOVE", "/a/b/file", token, **there).status == 409
    copied = centre.ask("COPY", "/no/file", token, Source=f"{centre.dcache.base}/a/b/file", Credential="none")
    assert (copied.status, copied.phrase, copied.body) == (400, "No such directory", b"")


def test_names_that_are_there(centre: Centre) -> None:
    token = centre.token()
    for name in ("one", "two"):
        centre.ask("PUT", f"/a/{name}", token, DATA)
    target = f"{centre.dcache.base}/a/two"
    assert centre.ask("MOVE", "/a/one", token, Destination=target).status == 412
    assert centre.ask("MOVE", "/a/one", token, Destination=target, Overwrite="F").status == 412
    assert centre.ask("PUT", "/a/one", token, b"x", If_None_Match="*").status == 412
    assert centre.ask("MOVE", "/a/one", token, Destination=f"{centre.dcache.base}/b").status == 201
    assert centre.ask("DELETE", "/a", token).status == 204, "with all that is in it"
    assert centre.ask("HEAD", "/a/two", token).status == 404 and centre.ask("HEAD", "/b", token).status == 200


def test_names_come_encoded(centre: Centre) -> None:
    token = centre.token()
    assert centre.ask("PUT", "/a/with%20blank%2B%C3%BC%25", token, DATA).status == 201
    body = centre.ask("PROPFIND", "/a", token, b"<d:quota-used-bytes/>", Depth="1").body.decode()
    assert f"<d:href>{PREFIX}/a/with%20blank%2B%C3%BC%25</d:href>" in body and f"<d:href>{PREFIX}/a/</d:href>" in body
    assert "<d:quota-used-bytes/></d:prop><d:status>HTTP/1.1 404 Not Found" in body
    assert centre.ask("GET", "/a", token).body.count(b"<a href=") == 1


def test_there_is_adler32_and_what_was_sent_along(centre: Centre) -> None:
    token, told = centre.token(), f"adler32={zlib.adler32(DATA):08x}"
    assert centre.ask("PUT", "/file", token, DATA, Want_Digest="adler32").headers["digest"] == told
    head = [
        centre.ask("HEAD", "/file", token, Want_Digest=one).headers.get("digest") for one in ("adler32", "md5", "md5,adler32")
    ]
    assert head == [told, None, told]
    assert centre.ask("GET", "", url=centre.lead("GET", "/file", token), Want_Digest="adler32").headers["digest"] == told
    md5 = base64.b64encode(hashlib.md5(DATA).digest()).decode()
    assert centre.ask("PUT", "/file", token, DATA, Content_MD5=md5).status == 201
    assert centre.ask("HEAD", "/file", token, Want_Digest="md5").headers["digest"] == f"md5={md5}"
    wrong = centre.ask("PUT", "/file", token, DATA, Content_MD5="x")
    assert (wrong.status, wrong.body) == (400, b"Checksum mismatch")
    assert centre.ask("PUT", "/file", token, DATA, Digest="adler32=00000000").status == 201, "not looked at"


def test_where_a_full_pool_refuses_the_old_file_is_gone(centre: Centre) -> None:
    token = centre.token()
    assert centre.ask("PUT", "/file", token, b"old").status == 201
    centre.dcache.namespace.room = 1000
    full = centre.ask("PUT", "/file", token, DATA)
    assert (full.status, full.phrase) == (507, "Insufficient storage: SER_DISK_FULL")
    assert centre.ask("HEAD", "/file", token).status == 404


# §5 third-party copies


@pytest.fixture
def other(centre: Centre) -> Iterator[tuple[str, list[tuple[str, bytes, str]]]]:
    """An element at the other end, and what it was asked: method, body, who."""
    asked = []

    class Handler(Silent):
        def do_GET(self) -> None:
            asked.append(("GET", b"", self.headers["Authorization"]))
            self.send_response(404 if "none" in self.path else 200)
            self.send_header("Content-Length", "6000")
            if "sum" in self.path:
                self.send_header("Digest", "adler32=00000000")
            self.end_headers()
            self.wfile.write(DATA[: 10 if "short" in self.path else None])

        def do_PUT(self) -> None:
            asked.append(("PUT", self.rfile.read(int(self.headers["Content-Length"])), self.headers["Authorization"]))
            self.send_response(403 if "closed" in self.path else 201)
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(centre.certificate, centre.key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with serve(server):
        yield f"https://localhost:{server.server_port}", asked


def test_it_pulls_and_pushes_with_the_others_token(centre: Centre, other: tuple[str, list[tuple[str, bytes, str]]]) -> None:
    url, asked = other
    token, there = centre.token(), {"TransferHeaderAuthorization": "Bearer theirs", "Credential": "none"}
    pulled = centre.ask("COPY", "/pulled", token, Source=f"{url}/file", **there)
    assert pulled.status == 202 and pulled.body.decode().splitlines()[-1] == "success: Created"
    assert pulled.headers["content-type"] == "text/perf-marker-stream" and centre.read("/pulled") == DATA
    pushed = centre.ask("COPY", "/pulled", token, Destination=f"{url}/file", **there)
    assert pushed.body.decode().splitlines()[-1] == "success: Created"
    assert asked == [("GET", b"", "Bearer theirs"), ("PUT", DATA, "Bearer theirs")]


def test_how_copies_fail(centre: Centre, other: tuple[str, list[tuple[str, bytes, str]]]) -> None:
    url, _ = other
    token = centre.token()
    plain = centre.ask("COPY", "/file", token, Source=f"{url}/file")
    assert (plain.status, plain.phrase) == (500, "Error performing OpenId-Connect delegation")
    centre.ask("PUT", "/file", token, b"old")

    def copy(path: str = "/new", who: str = token, **headers: str) -> tuple[int, str]:
        answer = centre.ask("COPY", path, who, Credential="none", **headers)
        return answer.status, answer.body.decode().strip().rpartition("\n")[2] or answer.phrase

    assert copy(Source=f"{url}/none") == (202, "failure: rejected GET: 404 Not Found")
    assert copy("/file", Destination=f"{url}/closed") == (202, "failure: rejected PUT: 403 Forbidden")
    assert copy("/file", Source=f"{url}/file", Overwrite="F")[0] == 500
    assert copy(Source="http://localhost/file")[0] == 400
    assert copy(who=centre.token("storage.read:/"), Source=f"{url}/file")[0] == 401
    assert copy(Source=f"{url}/sum")[1].startswith("failure: checksum")
    assert copy(Source=f"{url}/short")[1].startswith("failure")
    assert centre.ask("HEAD", "/new", token).status == 404, "nothing is left"
