"""The ways around a token that storage elements are known for, each tried on the real one."""

from __future__ import annotations

import base64
import hashlib
import subprocess
import zlib

import pytest
from element import DATA
from house import House
from person import Person
from sandbox import Sandbox, until

pytestmark = [pytest.mark.facility, pytest.mark.usefixtures("running"), pytest.mark.timeout(600)]
REFUSED = (400, 401, 403, 404, 405, 409, 501)  # what is no yes


@pytest.fixture(scope="module")
def house(sandbox: Sandbox, running: Sandbox) -> House:
    return House.furnish(sandbox, "tess", "toby")


def test_who_may_read_writes_by_no_method(house: House) -> None:
    here, target = house.here, f"{house.here.url}/users/tess/new"
    for method in ("PUT", "MKCOL", "DELETE", "POST", "PROPPATCH", "LOCK", "PATCH"):
        for path in ("/users/tess/new", "/users/tess/kept"):
            body = b"x" if method in ("PUT", "POST", "PATCH") else None
            assert here.ask(method, path, house.reader, body).status in REFUSED, (method, path)
    for token in (house.reader, house.other):
        assert here.ask("MOVE", "/users/tess/kept", token, headers={"Destination": target}).status in REFUSED
    assert here.ask("GET", "/users/tess/kept", house.reader).body == b"kept" and not house.exists("/users/tess/new")


def test_who_may_read_writes_by_no_group(house: House) -> None:
    """A token that reads, of a member whose groups may write, and that says so."""
    both = Person.join(house.sandbox, "tessa", "lab/production").authorise("storage.read:/ wlcg.groups").access_token
    assert house.here.get("/data", both) == 200
    for method in ("PUT", "MKCOL", "DELETE"):
        assert house.here.ask(method, "/data/of-groups", both, b"x" if method == "PUT" else None).status in REFUSED, method
    assert not house.exists("/data/of-groups")


def test_who_may_read_writes_by_no_copy(house: House) -> None:
    here, there = house.here, house.there
    given = {"TransferHeaderAuthorization": f"Bearer {house.writer}", "Credential": "none"}
    pull = here.ask("COPY", "/users/tess/new", house.reader, headers=given | {"Source": f"{there.url}/users/tess/kept"})
    assert not pull.copied and pull.status in REFUSED
    given["TransferHeaderAuthorization"] = f"Bearer {house.reader}"
    push = here.ask("COPY", "/users/tess/kept", house.reader, headers=given | {"Destination": f"{there.url}/users/tess/new"})
    assert not push.copied
    # the token of the one who asks is not handed on
    bare = {"Destination": f"{there.url}/users/tess/new"}
    assert not here.ask("COPY", "/users/tess/kept", house.writer, headers=bare).copied
    assert there.get("/users/tess/new", house.reader) == 404 and not house.exists("/users/tess/new")


def test_who_may_read_writes_by_no_verb_of_the_root_protocol(house: House) -> None:
    host = f"roots://{house.here.host}"
    write = ["install -m 600 /dev/null read-only && cat > read-only"]
    done = subprocess.run(house.owner.command(write[0]), input=house.reader, text=True, capture_output=True)
    assert done.returncode == 0, done
    shell = "export BEARER_TOKEN_FILE=$PWD/read-only; "
    assert house.owner.ssh(f"{shell} xrdfs {host} cat /users/tess/kept") == "kept"
    kept, new = "/users/tess/kept", "/users/tess/new"
    verbs = [
        f"mkdir {new}",
        f"mv {kept} {new}",
        f"rm {kept}",
        "rmdir /users/tess",
        f"truncate {kept} 0",
        f"chmod {kept} rwxrwxrwx",
    ]
    commands = [f"xrdfs {host} {verb}" for verb in verbs]
    commands += [f"xrdcp -f /etc/hostname {host}/{new}", f"xrdcp -f /etc/hostname {host}/{kept}"]
    commands += [f"xrdcp --tpc first {host}/{kept} {host}/{new}"]
    for command in commands:
        assert house.owner.try_ssh(shell + command).returncode != 0, command
    assert house.here.ask("GET", kept, house.reader).body == b"kept" and not house.exists(new)


def test_a_token_for_another_element_is_refused_everywhere(house: House) -> None:
    other = house.owner.authorise("storage.read:/ storage.modify:/users/tess", house.there.url).access_token
    assert house.there.get("/users/tess/kept", other) == 200
    for method in ("GET", "PUT", "DELETE", "PROPFIND", "MKCOL", "HEAD"):
        assert house.here.ask(method, "/users/tess/kept", other, b"x" if method == "PUT" else None).status == 403, method
    given = {"Source": f"{house.there.url}/users/tess/kept", "TransferHeaderAuthorization": f"Bearer {other}"}
    assert not house.here.ask("COPY", "/users/tess/new", other, headers=given).copied
    subprocess.run(house.owner.command("install -m 600 /dev/null other && cat > other"), input=other, text=True, check=True)
    look = "BEARER_TOKEN_FILE=$PWD/other xrdfs roots://HOST cat /users/tess/kept"
    assert house.owner.ssh(look.replace("HOST", house.there.host)) == "there"
    assert house.owner.try_ssh(look.replace("HOST", house.here.host)).returncode != 0


def test_two_members_on_one_connection_never_mix(house: House) -> None:
    """XRootD keeps a connection after what went well, so the last request of each turn is the one that must not."""
    here, mine, theirs = house.here, "/users/tess/mix", "/users/toby/mix"
    for method, path, token in (
        ("GET", theirs, house.writer),
        ("GET", mine, house.other),
        ("GET", mine, ""),
        ("PUT", theirs, house.writer),
        ("PUT", mine, house.other),
        ("PUT", mine, ""),
        ("DELETE", mine, house.other),
        ("DELETE", theirs, house.writer),
    ):
        connection = here.connect()
        for turn in range(3):
            # who read it last may still have it open in the server: then nobody may write (423)
            until(lambda: here.put(mine, house.writer, b"free") == 201 == here.put(theirs, house.other, b"free"), 30)
            assert here.ask("PUT", mine, house.writer, f"tess {turn}".encode(), on=connection).status == 201
            socket = connection.sock
            assert here.ask("PUT", theirs, house.other, f"toby {turn}".encode(), on=connection).status == 201
            assert here.ask("GET", mine, house.writer, on=connection).body == f"tess {turn}".encode()
            assert here.ask("GET", theirs, house.other, on=connection).body == f"toby {turn}".encode()
            assert connection.sock is socket is not None
        assert here.ask(method, path, token, b"mixed" if method == "PUT" else None, on=connection).status == 403
        connection.close()


OUTSIDE = (
    "/users/tess/../toby/kept",
    "/users/tess/%2e%2e/toby/kept",
    "/users/tess/%2E%2E%2Ftoby/kept",
    "/users/tess/.%2e/toby/kept",
    "/users/tess/..%2ftoby%2fkept",
    "/users/tess/%252e%252e/toby/kept",
    "/users/tess/./../toby/kept",
    "/users/tess//../toby/kept",
    "//users/toby/kept",
    "/users//toby/kept",
    "/users/./toby/kept",
    "/users/tess\\..\\toby\\kept",
    "/users/tess;/../toby/kept",
    "/users/tess%00/../toby/kept",
    "/users/tess/kept?x=/users/tess/../toby",
    "/users/tessa/kept",
    "/users/tes",
    "/users/TESS/kept",
    "/../../../etc/passwd",
    "/users/tess/../../../../../etc/passwd",
    "/users/tess/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    "/users/tess/../../../../../etc/farmlet/tls/xrootd.key",
    "/users/tess/..",
    "/users/tess/%2e%2e",
    "/users/tess/../toby",
    "/proc/self/environ",
)


def test_no_spelling_of_a_path_leads_out_of_ones_folder(house: House) -> None:
    """What XRootD makes of these paths differs by method; what counts is that nothing comes out and nothing else changes."""
    look = f"cd {DATA} && find users/toby -type f -exec md5sum {{}} + ; ls; ls /etc"
    before = house.sandbox.exec("head", look)
    assert "users/toby/kept" in before
    for path in OUTSIDE:
        assert house.here.put("/users/tess/kept", house.writer, b"kept") == 201
        read = house.here.ask("GET", path, house.writer)
        assert b"toby's" not in read.body and b"root:" not in read.body and b"PATH=" not in read.body, path
        for method in ("PUT", "MKCOL", "DELETE", "PROPFIND"):
            answer = house.here.ask(method, path, house.writer, b"tess was here" if method == "PUT" else None)
            assert answer.status >= 400 or b"toby" not in answer.body.replace(path.encode(), b""), (method, path)
        house.here.ask("MOVE", "/users/tess/kept", house.writer, headers={"Destination": f"{house.here.url}{path}"})
        if house.here.get("/users/tess/kept", house.writer) == 200:
            house.here.ask("MOVE", path, house.writer, headers={"Destination": f"{house.here.url}/users/tess/stolen"})
        # a copy goes another way through XRootD than all else
        away = {"TransferHeaderAuthorization": f"Bearer {house.writer}", "Destination": f"{house.there.url}/users/tess/stolen"}
        house.here.ask("COPY", path, house.writer, headers=away)
        stolen = house.there.ask("GET", "/users/tess/stolen", house.writer).body
        assert b"toby's" not in stolen and b"root:" not in stolen and b"PRIVATE" not in stolen, path
        house.there.ask("DELETE", "/users/tess/stolen", house.writer)
        house.here.ask("COPY", path, house.writer, headers=away | {"Source": f"{house.there.url}/users/tess/kept"})
    assert house.sandbox.exec("head", look) == before
    assert house.here.put("/users/tess/kept", house.writer, b"kept") == 201


def test_links_come_from_nobody_but_the_admin(house: House) -> None:
    said = house.owner.try_ssh(f"ln -s /etc/shadow {DATA}/users/tess/link; ls {DATA}; cat {DATA}/users/tess/kept")
    assert said.returncode != 0 and said.stderr.count("Permission denied") == 3


def test_checksums_are_of_what_lies_there(house: House) -> None:
    path = "/users/tess/a sum#".replace(" ", "%20").replace("#", "%23")
    for data in (b"first" * 1000, b"second, in the same second" * 1000):
        assert house.here.put(path, house.writer, data) == 201
        md5 = base64.b64encode(hashlib.md5(data).digest()).decode()
        for name, value in (("adler32", f"{zlib.adler32(data):08x}"), ("md5", md5)):
            told = house.here.ask("HEAD", path, house.writer, headers={"Want-Digest": name}).headers["digest"]
            assert told == f"{name}={value}"


def test_checksums_of_small_files_do_not_end_the_server(house: House) -> None:
    before = house.sandbox.exec("head", "systemctl show -p MainPID --value farmlet-storage")
    for turn in range(60):
        connection, path = house.here.connect(), f"/users/tess/small{turn}"
        house.here.ask("PUT", path, house.writer, b"x" * 4096, on=connection)
        answer = house.here.ask("GET", path, house.writer, headers={"Want-Digest": "adler32"}, on=connection)
        assert answer.headers["digest"] == f"adler32={zlib.adler32(b'x' * 4096):08x}"
        house.here.ask("DELETE", path, house.writer, on=connection)
        connection.close()
    assert house.sandbox.exec("head", "systemctl show -p MainPID --value farmlet-storage") == before


def test_ranges(house: House) -> None:
    assert house.here.put("/users/tess/range", house.writer, b"0123456789") == 201
    found = house.here.ask("GET", "/users/tess/range", house.reader, headers={"Range": "bytes=2-4"})
    assert (found.status, found.body, found.headers["content-range"]) == (206, b"234", "bytes 2-4/10")
    several = house.here.ask("GET", "/users/tess/range", house.reader, headers={"Range": "bytes=0-1,8-9"})
    assert several.status == 206 and b"\r\n\r\n01\r\n" in several.body and b"\r\n\r\n89\r\n" in several.body
    assert house.here.ask("GET", "/users/tess/range", house.reader, headers={"Range": "bytes=99-"}).status == 416
