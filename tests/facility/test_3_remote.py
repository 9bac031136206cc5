"""Elements that are not ours: real XRootD servers on the stand-in site's machine, set up by the pages that their admins get, and
a stand-in for a dCache."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pools
import pytest
from element import Element, find
from person import Person
from sandbox import Sandbox, until
from terminal import Terminal

from dcache import PREFIX, Dcache

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "unit" / "docs"))
from commands import CURL, blocks  # noqa: E402

pytestmark = [pytest.mark.facility, pytest.mark.lane("edit"), pytest.mark.usefixtures("running"), pytest.mark.timeout(600)]
# what such a server has anyhow; the rest is the page's
SERVER = """\
all.sitename remote
all.adminpath /run/remote-{name}
all.pidpath /run/remote-{name}
all.export /
oss.localroot /srv/remote/{name}
xrd.port {root}
xrd.tls /run/remote-{name}/host.crt /run/remote-{name}/host.key
xrd.tlsca certdir /etc/grid-security/certificates
xrootd.tls capable all -data
if exec xrootd
  xrd.protocol http:{web} libXrdHttp.so
  http.desthttps yes
  http.selfhttps2http no
fi
"""
PREPARE = """\
install -d -o xrootd -g xrootd /srv/remote /srv/remote/{name} /run/remote-{name} /etc/xrootd/config.d
install -o xrootd -g xrootd -m 400 /etc/farmlet/tls/xrootd.key /run/remote-{name}/host.key
install -o xrootd -g xrootd -m 644 /etc/farmlet/tls/xrootd.crt /run/remote-{name}/host.crt
"""
START = """\
systemd-run --quiet --unit=remote-{name} --uid=xrootd --gid=xrootd \
  -E XDG_CACHE_HOME=/run/remote-{name} -p WorkingDirectory=/run/remote-{name} \
  xrootd -c /run/remote-{name}/server.cfg -n {name}
"""
STOP = """\
systemctl stop remote-{name} 2>/dev/null || true
systemctl reset-failed remote-{name} 2>/dev/null || true
rm -rf /srv/remote/{name} /run/remote-{name}
"""


PUT = """\
for url; do
  printf 'header = "Authorization: Bearer %s"' "$(cat "$BEARER_TOKEN_FILE")" |
    curl -sSL -o /dev/null -w '%{http_code}\\n' -X PUT -d x -K - "$url"
done
"""
OTHERS = (
    'gfal() { BEARER_TOKEN=$(cat "$BEARER_TOKEN_FILE") "gfal-$@"; }',
    'gfal copy -K ADLER32 "file://$PWD/data.root" BASE/users/ada/gfal/data.root',
    'gfal copy BASE/users/ada/gfal/data.root "file://$PWD/back.root" && cmp data.root back.root',
    "/opt/farmlet/analysis/bin/python -c 'import fsspec, sys; sys.stdout.buffer.write(fsspec.open(sys.argv[1]).open().read())' "
    "BASE/users/ada/gfal/data.root > read.root && cmp data.root read.root",
)
JOB = """\
executable = put.sh
arguments = "{arguments}"
use_oauth_services = farmlet
+WantLocal = true
request_memory = 128
output = job.out
error = job.err
log = job.log
queue
"""


def inside(sandbox: Sandbox, script: str, text: str = "") -> None:
    """On the site's machine, which is not of the facility."""
    command = ["docker", "exec", "-i", sandbox.container("tier1"), "sh", "-ec", script]
    subprocess.run(command, input=text, text=True, check=True, capture_output=True)


def start(sandbox: Sandbox, name: str, authorise: str, prefix: str, root: int, web: int) -> Element:
    """A server as its admin would make it of the page that `farmlet explain --storage` writes."""
    host = f"tier1.sites.{sandbox.domain}"
    entry = f"{{name: {name}, kind: xrootd, url: 'https://{host}:{web}', prefix: {prefix}, authorise: {authorise}}}"
    file = sandbox.folder / f"{name}.yaml"
    text = (sandbox.folder / "facility.yaml").read_text()
    file.write_text(text.replace("storage: {limits", f"storage: {{elements: [{entry}], limits", 1))
    page = json.loads(sandbox.run("explain", "--facility", str(file), "--storage", name, "--json").stdout)
    inside(sandbox, PREPARE.format(name=name))
    text = SERVER.format(name=name, root=root, web=web)
    for path, content in page["files"].items():
        assert content.strip() in page["text"]
        if "/config.d/" in path:
            text += content
        else:
            inside(sandbox, f"cat > {path}", content)
    inside(sandbox, f"cat > /run/remote-{name}/server.cfg", text)
    inside(sandbox, START.format(name=name))
    remote = Element(host, find(sandbox)[1].ca, web)
    until(remote.answers, 30)
    return remote


@pytest.fixture(scope="module")
def gwen(sandbox: Sandbox, running: Sandbox) -> Person:
    return Person.join(sandbox, "gwen", "lab/production")


@pytest.fixture(scope="module")
def hugo(sandbox: Sandbox, running: Sandbox) -> Person:
    return Person.join(sandbox, "hugo", "lab")


@pytest.fixture(scope="module")
def grouped(sandbox: Sandbox, running: Sandbox) -> Iterator[Element]:
    yield start(sandbox, "grouped", "groups", "/vo/lab", 2094, 9443)
    inside(sandbox, STOP.format(name="grouped"))


@pytest.fixture(scope="module")
def prefixed(sandbox: Sandbox, running: Sandbox) -> Iterator[Element]:
    yield start(sandbox, "prefixed", "scopes", "/pnfs/example/lab", 3094, 10443)
    inside(sandbox, STOP.format(name="prefixed"))


def test_where_groups_decide_scopes_do_not(sandbox: Sandbox, grouped: Element, gwen: Person, hugo: Person) -> None:
    groups = gwen.authorise("openid wlcg.groups").access_token
    scopes = gwen.authorise("openid storage.read:/ storage.modify:/data").access_token
    assert grouped.put("/vo/lab/data/file", groups, b"of a group") == 201
    assert grouped.put("/vo/lab/data/other", scopes, b"of a scope") == 403
    assert grouped.get("/vo/lab/data/file", scopes) == 403
    plain = hugo.authorise("openid wlcg.groups").access_token
    assert grouped.ask("GET", "/vo/lab/data/file", plain).body == b"of a group"
    assert grouped.put("/vo/lab/data/file", plain, b"hugo's") == 403, "who is in no group that may write"
    for path in ("/data/file", "/vo/other/file", "/vo/lab/users/gwen/file", "/vo/labs/data/file", "/vo/lab/database/file"):
        assert grouped.put(path, groups, b"x") == 403, path
    elsewhere = gwen.authorise_elsewhere("openid wlcg.groups").access_token
    assert grouped.get("/vo/lab/data/file", elsewhere) == 403
    # for this element alone; the file of this sandbox does not name it, so no member is asked about it
    words = ("token", "--as", "gwen", "--scope", "wlcg.groups", "--audience", grouped.url, "--reason", "test")
    assert grouped.get("/vo/lab/data/file", sandbox.json(*words)["access_token"]) == 200


def test_where_paths_carry_a_prefix_scopes_name_what_is_below_it(
    prefixed: Element, sandbox: Sandbox, gwen: Person, hugo: Person
) -> None:
    writer = hugo.authorise("storage.read:/ storage.modify:/users/hugo").access_token
    inner = "/pnfs/example/lab"
    assert prefixed.put(f"{inner}/users/hugo/file", writer, b"below") == 201
    assert prefixed.ask("GET", f"{inner}/users/hugo/file", writer).body == b"below"
    for path in ("/users/hugo/file", f"{inner}/users/gwen/file", "/pnfs/example/other/users/hugo/file", "/pnfs/example/labs/x"):
        assert prefixed.put(path, writer, b"x") == 403, path
    groups = gwen.authorise("openid wlcg.groups").access_token
    assert prefixed.put(f"{inner}/data/file", groups, b"x") == 403, "groups do not count where scopes do"
    here = find(sandbox)[0]
    given = {"Destination": f"{prefixed.url}{inner}/users/hugo/copy", "TransferHeaderAuthorization": f"Bearer {writer}"}
    assert here.put("/users/hugo/file", writer, b"to be copied") == 201
    assert here.ask("COPY", "/users/hugo/file", writer, headers=given).copied
    assert prefixed.ask("GET", f"{inner}/users/hugo/copy", writer).body == b"to be copied"


@pytest.fixture(scope="module")
def pooled(sandbox: Sandbox, running: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dcache]:
    made = pools.start(sandbox, tmp_path_factory.mktemp("dcache"))
    yield made
    pools.stop(sandbox, made)


@pytest.fixture(scope="module")
def named(sandbox: Sandbox, grouped: Element, prefixed: Element, pooled: Dcache) -> Iterator[None]:
    """All stand in the facility file."""
    path = sandbox.folder / "facility.yaml"
    before = path.read_text()
    rows = (
        ("grouped", "xrootd", grouped.url, "/vo/lab", "groups"),
        ("prefixed", "xrootd", prefixed.url, "/pnfs/example/lab", "scopes"),
        ("pooled", "dcache", pooled.url, PREFIX, "scopes"),
    )
    entries = (f"{{name: {n}, kind: {k}, url: '{u}', prefix: {p}, authorise: {a}}}" for n, k, u, p, a in rows)
    path.write_text(before.replace("storage: {limits", f"storage: {{elements: [{', '.join(entries)}], limits", 1))
    try:
        sandbox.run("up")
        yield
    finally:
        path.write_text(before)
        sandbox.run("up")


def test_sessions_and_jobs_reach_both_with_the_one_token(
    named: None, sandbox: Sandbox, grouped: Element, prefixed: Element, gwen: Person
) -> None:
    gwen.ssh("cat > put.sh <<'.'\n#!/bin/bash\n" + PUT + ".\nchmod +x put.sh")
    own = find(sandbox)[0].url
    places = (f"{grouped.url}/vo/lab/data", f"{prefixed.url}/pnfs/example/lab/users/gwen", f"{own}/users/gwen")
    urls = " ".join(f"{place}/NAME" for place in places)
    # consent from before the elements were named has no groups
    token = gwen.authorise("offline_access storage.read:/ storage.modify:/", client="batch").refresh_token
    given = subprocess.run(gwen.command("farmlet-credential --stdin"), input=token, text=True, capture_output=True, timeout=60)
    assert given.returncode == 0, given.stderr
    put = f"./put.sh {urls.replace('NAME', 'session')}"
    assert gwen.ssh(put).split() == ["403", "201", "201"]
    with Terminal(gwen, "farmlet-credential --anew") as terminal:
        terminal.allow()
        terminal.read("have a credential")
    until(lambda: gwen.ssh(put).split() == ["201"] * 3, 60)
    gwen.ssh(f"cat > job.sub <<'.'\n{JOB.format(arguments=urls.replace('NAME', 'job'))}.\ncondor_submit job.sub")
    until(lambda: gwen.ssh("cat job.out job.err 2>/dev/null || true"), 90)
    assert gwen.ssh("cat job.out job.err").split() == ["201"] * 3


def test_a_dcache_is_checked_and_used_by_the_lines_of_the_guide(
    named: None, sandbox: Sandbox, pooled: Dcache, gwen: Person
) -> None:
    """With the clients of a node; copies are fetched and sent by our own element."""
    told = {row["check"]: row["evidence"] for row in sandbox.json("check", "storage")}
    assert "written, read back, deleted" in told["storage.keeps.pooled"]
    guide = blocks(ROOT / "docs" / "howto" / "user" / "data.md", CURL)
    here, site = "https://head.farmlet.test:8443", "https://tier1.sites.farmlet.test:8443"
    script = [one.replace(here, pooled.base) for one in guide[:2]] + [one.replace(site, pooled.base) for one in guide[2:]]
    text = "\n".join(["set -euo pipefail", "cd $(mktemp -d)", "head -c 3000000 /dev/urandom > data.root", *script, *OTHERS])
    text = text.replace("BASE", pooled.base).replace("farmlet.test", sandbox.domain).replace("/users/ada", "/users/gwen")
    pooled.heard.clear()
    done = subprocess.run(gwen.command("bash"), input=text, text=True, capture_output=True, timeout=90)
    assert done.returncode == 0 and done.stdout.count("success: Created") == 2, done
    asked = {(one.port, one.method) for one in pooled.heard}
    assert asked >= {("door", "PUT"), ("pool", "PUT"), ("pool", "GET"), ("door", "DELETE")} and ("door", "COPY") not in asked
    # what its pools ask for beside our authority
    crl = f"curl -sS --fail https://service.{sandbox.domain}/authority/NAME.crl | openssl crl -noout -issuer -nextupdate"
    for name, issuer in (("facility", "Example"), ("renewal", "renewal authority")):
        assert issuer in sandbox.exec("head", crl.replace("NAME", name))


def test_in_the_file_they_are_told_of_and_checked_and_one_that_is_away_holds_up_nothing(
    named: None, sandbox: Sandbox, grouped: Element, prefixed: Element
) -> None:
    bases = {"storage@grouped": f"{grouped.url}/vo/lab", "storage@prefixed": f"{prefixed.url}/pnfs/example/lab"}
    assert sandbox.json("status", code=None)["endpoints"].items() >= bases.items()
    rows = json.loads(sandbox.exec("head", "cat /etc/farmlet/storage.json"))["elements"]
    assert {(row["name"], row["scopes"]) for row in rows} >= {("grouped", False), ("prefixed", True)}
    (told,) = sandbox.json("check", "storage.keeps.prefixed")
    assert "written, read back, deleted" in told["evidence"]
    assert "no such check" in sandbox.run("check", "storage.keeps.grouped", code=2).stderr, "by groups a program has no rights"
    inside(sandbox, "systemctl stop remote-prefixed")
    until(lambda: not sandbox.json("check", "storage.keeps.prefixed", code=None)[0]["ok"], 60)
    assert "storage.keeps.prefixed" in sandbox.run("up").stderr
