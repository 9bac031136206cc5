"""Odd names through every client and verb that members use: what is told is what is done, or it is refused in words."""

from __future__ import annotations

import json
import shlex
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from urllib.parse import quote, unquote_to_bytes

import pytest
from element import DATA, Answer
from house import House
from sandbox import Sandbox, until
from test_3_uploads import begin_upload

pytestmark = [pytest.mark.facility, pytest.mark.usefixtures("running"), pytest.mark.timeout(600)]
FIT = [
    *("plain", "a b", " leading", "trailing ", "a  b", "q&a#1", "100%", "%41", "a%2Fb", "%", "%zz", "a+b", "a=b", "a;b", "a:b"),
    *("a,b", "a@b", "a!b", "$HOME", "$(x)", "a'b", 'a"b', "a*b", "[a]", "{a}", "(a)", "<a>", "a\\b", "a^b", "`a`", "a|b", "~a"),
    *(".hidden", "..a", "a..", "...", "-rf", "--help", "#x", "&amp;", "]]>", "<D:href>", "a&authz=x", "ü", "u\u0308"),
    *("日本語", "🚀", "\u200b", "\u202e", "\u2028", "\ufffe", "a.root:tree", "x" * 254, "ü" * 127),
]
UNFIT = [b"a?b", b"a\tb", b"a\nb", b"\x01", b"a\x7f", b"\xff", b"a\xc3", b"\xc0\xaf", b"\xed\xa0\x80", b"\xc2\x85", b"x" * 255]
# what XRootD passes over, and would change what is stored
HEADERS = {
    "Content-Range": "bytes 2-4/5",
    "Content-Encoding": "gzip",
    "Transfer-Encoding": "gzip",
    "If": "(<urn:x>)",
    "If-Match": '"x"',
    "If-None-Match": "*",
    "If-Unmodified-Since": "Sat, 29 Oct 1994 19:43:31 GMT",
}
# by programs of their own, which take their time: a few names for each
FEW = ["a b", "q&a#1", "100%", "[a]{b}'\"", "ü 🚀", "-rf"]
SCRIPT = """\
import json, os, subprocess, sys, tempfile
from urllib.parse import quote, unquote
os.chdir(tempfile.mkdtemp())
host, folder, names, few = json.load(sys.stdin)
web, root, token = f"https://{host}:8443{folder}", f"root://{host}/{folder}", open(os.environ["BEARER_TOKEN_FILE"]).read()
bearer, wrong = ["-H", f"Authorization: Bearer {token}"], []

def call(*command):
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"BEARER_TOKEN": token})
    return done.stdout if not done.returncode else f"exit {done.returncode}: {done.stderr}"

def expect(what, name, found, wanted):
    if found != wanted:
        wrong.append((what, name, found[-200:]))

def back(what, name, command):
    said = call(*command)
    expect(what, name, open("back").read() if os.path.exists("back") else said, name)
    if os.path.exists("back"):
        os.unlink("back")

for name in few:
    open("sent", "w").write(name)
    quoted, here = f"{web}/{quote(name, safe='')}", os.getcwd()
    expect("curl", name, call("curl", "-sSf", *bearer, "-T", "sent", quoted), ":-)")
    back("xrdcp", name, ["xrdcp", "-s", f"{root}/{name}", "back"])
    expect("xrdfs rm", name, call("xrdfs", host, "rm", f"{folder}/{name}").strip()[-9:], "[SUCCESS]")
    expect("xrdcp to", name, call("xrdcp", "-s", "sent", f"{root}/{name}"), "")
    back("davix-get", name, ["davix-get", *bearer, quoted, "back"])
    back("gfal-copy", name, ["gfal-copy", quoted, f"file://{here}/back"])
    expect("davix-ls", name, str(name in map(unquote, call("davix-ls", *bearer, web).split("\\n"))), "True")
    expect("xrdfs ls", name, str(f"{folder}/{name}" in call("xrdfs", host, "ls", folder).split("\\n")), "True")
    expect("davix-rm", name, call("davix-rm", *bearer, quoted), "")
    expect("davix-put", name, call("davix-put", *bearer, "sent", quoted), "")
    expect("xrdfs mv", name, call("xrdfs", host, "mv", f"{folder}/{name}", f"{folder}/moved"), "")
    expect("gfal-rename", name, call("gfal-rename", f"{web}/moved", quoted).strip(), "")
    back("curl", name, ["curl", "-sSf", *bearer, "-o", "back", quoted])
    expect("gfal-rm", name, call("gfal-rm", quoted).partition("\\t")[2].strip(), "DELETED")

import fsspec, uproot
filesystem = fsspec.filesystem("root", hostid=host)
with uproot.recreate("t.root") as file:
    file["tree"] = {"x": [1.0, 2.0]}
data = open("t.root", "rb").read()
for name in names:
    with fsspec.open(f"{root}/{name}", "wb") as out:
        out.write(data)
found = {path.rpartition("/")[2] for path in filesystem.ls(folder, detail=False)}
expect("fsspec ls", "", json.dumps(sorted(found)), json.dumps(sorted(names)))
for name in names:
    quoted = f"{web}/{quote(name, safe='')}"
    with fsspec.open(quoted) as file:
        expect("fsspec", name, str(file.read() == data), "True")
    with uproot.open(quoted) as file:
        expect("uproot", name, str(file.keys()), "['tree;1']")
    filesystem.rm_file(f"{folder}/{name}")  # `rm` takes a name for a pattern
print(json.dumps(wrong))
"""


@pytest.fixture(scope="module")
def house(sandbox: Sandbox, running: Sandbox) -> House:
    return House.furnish(sandbox, "nestor", "noemi")


@pytest.fixture
def folder(house: House, request: pytest.FixtureRequest) -> Iterator[str]:
    """A folder of the owner with nothing in it."""
    path = f"{house.home}/{request.node.name[:20]}"
    assert house.here.ask("MKCOL", path, house.writer).status == 201
    yield path
    house.sandbox.exec("head", f"rm -rf {DATA}{path} {DATA}{path}-to")


def names(house: House, folder: str, place: str = "head") -> set[bytes]:
    """What lies there, as the file system has it."""
    script = "import os, sys; print([*map(list, os.listdir(os.fsencode(sys.argv[1])))])"
    said = house.sandbox.exec(place, f"python3 -c '{script}' {DATA}{folder}")
    return {bytes(name) for name in json.loads(said)}


def listing(house: House, path: str, depth: int = 1) -> set[bytes]:
    """The hrefs of a listing, unquoted."""
    answer = house.here.ask("PROPFIND", path, house.reader, headers={"Depth": str(depth)})
    assert answer.status == 207 and answer.body.isascii()
    return {unquote_to_bytes(href.text or "") for href in ET.fromstring(answer.body).iter("{DAV:}href")}


def give_token(house: House) -> None:
    """As the file `writer` in the owner's home."""
    command = house.owner.command("install -m 600 /dev/null writer && cat > writer")
    subprocess.run(command, input=house.writer, text=True, check=True)


def move(house: House, path: str, to: str, **headers: str) -> Answer:
    return house.here.ask("MOVE", path, house.writer, headers={"Destination": house.here.url + to} | headers)


def test_odd_names_by_http(house: House, folder: str) -> None:
    here, there, token = house.here, house.there, house.writer
    raw, paths = {name.encode() for name in FIT}, {name: f"{folder}/{quote(name, safe='')}" for name in FIT}
    on = here.connect()
    for name, path in paths.items():
        assert here.ask("PUT", path, token, name.encode(), on=on).status == 201, name
    assert names(house, folder) == raw
    assert listing(house, folder) == {f"{folder}/".encode() + name for name in (b"", *raw)}
    assert here.ask("MKCOL", f"{folder}-to", token).status == 201
    for name, path in paths.items():
        assert listing(house, path, 0) == {f"{folder}/{name}".encode()}, name
        assert here.ask("GET", path, token, on=on).body == name.encode(), name
        assert here.ask("HEAD", path, token, on=on).headers["content-length"] == str(len(name.encode())), name
        given = {"Source": here.url + path, "TransferHeaderAuthorization": f"Bearer {token}"}
        assert there.ask("COPY", path, token, headers=given).copied, name
        assert move(house, path, path.replace(folder, f"{folder}-to")).status == 201, name
    assert names(house, f"{folder}-to") == raw == names(house, folder, "tier1") and not names(house, folder)
    for name, path in paths.items():
        assert here.ask("DELETE", path.replace(folder, f"{folder}-to"), token, on=on).status == 200, name
        assert here.ask("MKCOL", path, token, on=on).status == 201, name
        assert listing(house, path) == {f"{folder}/{name}/".encode()}, name
    assert names(house, folder) == raw and not names(house, f"{folder}-to")


def test_odd_names_by_clients(house: House, folder: str) -> None:
    give_token(house)
    subprocess.run(house.owner.command("cat > names.py"), input=SCRIPT, text=True, check=True)
    run = "export BEARER_TOKEN_FILE=$PWD/writer && /opt/farmlet/analysis/bin/python names.py"
    given = json.dumps([house.here.host, folder, FIT, FEW])
    said = subprocess.run(house.owner.command(run), input=given, text=True, capture_output=True, timeout=120)
    assert said.returncode == 0 and json.loads(said.stdout) == [], said


def test_what_is_no_name_is_refused_and_hides_nothing(house: House, folder: str) -> None:
    here, token = house.here, house.writer
    assert here.put(f"{folder}/kept", token, b"kept") == 201
    for raw in UNFIT:
        path = f"{folder}/{quote(raw, safe='')}"
        copy = {"Source": f"{here.url}{folder}/kept", "TransferHeaderAuthorization": f"Bearer {token}"}
        for verb, headers in (("PUT", {}), ("MKCOL", {}), ("COPY", copy)):
            answer = here.ask(verb, path, token, b"x" if verb == "PUT" else None, headers=headers)
            assert answer.status == 400 and b"a name is UTF-8" in answer.body, (verb, raw)
        assert move(house, f"{folder}/kept", path).status == 400, raw
        assert here.ask("MKCOL", f"{path}/below", token).status == 400, raw
    assert names(house, folder) == {b"kept"}
    make = f"import os; [open(name, 'w') for name in {UNFIT[:-1]!r}]"
    house.sandbox.exec("head", f"cd {DATA}{folder} && python3 -c {shlex.quote(make)} && chown -R xrootd .")
    assert listing(house, folder) == {f"{folder}/".encode() + raw for raw in (b"", b"kept", *UNFIT[:-1])}
    for raw in UNFIT[1:-1]:  # whoever has such a file gets rid of it
        assert here.ask("DELETE", f"{folder}/{quote(raw, safe='')}", token).status == 200, raw
    give_token(house)
    for verb in (f"mkdir {folder}/$'a\\x01'", f"mv {folder}/kept {folder}/$'a\\xff'", f"mkdir {folder}/$'\\x01'/b"):
        said = house.owner.try_ssh(f'BEARER_TOKEN_FILE=$PWD/writer bash -c "xrdfs {here.host} {verb}"')
        assert said.returncode and "a name is UTF-8" in said.stderr, said
    assert names(house, folder) == {b"kept", b"a?b"}
    # XRootD's own, before any plug-in sees the name: docs/reference/engines.md says so as long as it is so
    for cut in ("cut%00x", "cut%", "cut%zz"):
        assert here.put(f"{folder}/{cut}", token, b"x") == 201
        assert names(house, folder) == {b"kept", b"a?b", b"cut"} and here.ask("DELETE", f"{folder}/cut", token).status == 200


def test_moves(house: House, folder: str) -> None:
    """RFC 4918, 9.9."""
    here, token, at = house.here, house.writer, f"{folder}/"
    for name in ("a", "b", "d/x", "e/y"):
        assert here.put(at + name, token, name.encode()) == 201
    assert move(house, f"{at}a", f"{at}b", Overwrite="F").status == 412
    assert here.ask("GET", f"{at}b", token).body == b"b"
    assert move(house, f"{at}a", f"{at}b").status == 204 and here.ask("GET", f"{at}b", token).body == b"a"
    for old, new, status in (("b", "no/b", 409), ("b", "d", 409), ("d", "e", 409), ("no", "c", 404), ("b", "b", 403)):
        assert move(house, at + old, at + new).status == status, (old, new)
    assert move(house, f"{at}d/", f"{at}f/").status == 201 and here.ask("GET", f"{at}f/x", token).body == b"d/x"
    for wish, status in (("https://elsewhere.example.org/x", 502), ("x", 400), (f"{at}%zz", 400), (f"{at}x%00", 400)):
        assert here.ask("MOVE", f"{at}b", token, headers={"Destination": wish}).status == status, wish
    for bearer in (house.reader, house.other, ""):
        assert here.ask("MOVE", f"{at}b", bearer, headers={"Destination": f"{at}c"}).status == 403
    upload = begin_upload(house, f"{at}half")
    for old, new in (("b", "half"), ("half", "c")):
        assert move(house, at + old, at + new).status == 423, (old, new)
    upload.close()
    until(lambda: not house.exists(f"{at}half"), 15)
    create = house.owner.authorise(f"storage.create:{house.home} storage.read:/").access_token
    assert here.ask("MOVE", f"{at}b", create, headers={"Destination": f"{at}e/y"}).status == 403
    assert here.ask("PROPFIND", "/users/noemi", house.writer).status == here.ask("PROPFIND", folder, "").status == 403
    assert names(house, folder) == {b"b", b"e", b"f"} and here.ask("GET", f"{at}e/y", token).body == b"e/y"


def test_what_would_change_what_is_stored_is_refused(house: House, folder: str) -> None:
    here, token, old = house.here, house.writer, f"{folder}/old"
    assert here.put(old, token, b"12345") == 201
    for name, value in HEADERS.items():
        for path in (old, f"{folder}/new"):
            body = iter([b"abc"]) if name == "Transfer-Encoding" else b"abc"
            answer = here.ask("PUT", path, token, body, headers={name: value})
            assert answer.status == 405 and name.encode() in answer.body, (name, path)
        for verb in ("DELETE", "MOVE"):
            answer = here.ask(verb, old, token, headers={name: value, "Destination": f"{folder}/new"})
            assert answer.status in (400, 405) and name.encode() in answer.body, (verb, name)
        if name.startswith("If"):
            given = {"Source": here.url + old, "TransferHeaderAuthorization": f"Bearer {token}", name: value}
            assert here.ask("COPY", f"{folder}/new", token, headers=given).status == 400, name
    assert names(house, folder) == {b"old"} and here.ask("GET", old, token).body == b"12345"
    give_token(house)
    resumed = 'printf "12345678" > part && curl -sS -C 5 -T part -H "Authorization: Bearer $(cat writer)" -w "%{http_code}"'
    assert house.owner.ssh(f"{resumed} {here.url}{old}").endswith("405")
    assert here.ask("GET", old, token).body == b"12345"
    assert here.ask("GET", old, token, headers={"If-None-Match": '"x"', "If": "(<x>)"}).body == b"12345"
