"""The clients of storage on a log-in node, in a notebook and in jobs: each as it is installed, with the token that is there."""

from __future__ import annotations

import json
import secrets
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import notebooks
import pytest
from person import Person
from sandbox import Sandbox, until

from farmlet.parts.part import STORAGE

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "unit" / "docs"))
from commands import CURL, blocks  # noqa: E402

GUIDE = ROOT / "docs" / "howto" / "user" / "data.md"
pytestmark = [pytest.mark.facility, pytest.mark.usefixtures("running"), pytest.mark.timeout(600)]
# nothing in it names a token or an authority: BEARER_TOKEN_FILE and the rest are the session's, or the job's
SCRIPT = """\
#!/bin/bash
set -eu
KIND=$1 PYTHON=$2
cd "$(mktemp -d)"; WORK=$PWD
host=@HOST@ mine=/users/cleo
web=https://$host:8443$mine root=roots://$host/$mine
head -c 100000 /dev/urandom > made
printf 'header = "Authorization: Bearer %s"\\n' "$(cat "$BEARER_TOKEN_FILE")" > curlrc
curl -sS --fail --location -K curlrc -T made "$web/$KIND/curl"
xrdcp -f made "$root/$KIND/xrdcp"
xrdfs "roots://$host" ls "$mine/$KIND" | grep -q xrdcp
xrdcp -f "$root/$KIND/curl" back; cmp made back
gfal-copy -f "$root/$KIND/xrdcp" "file://$WORK/gfal-root"; cmp made gfal-root
gfal() { BEARER_TOKEN=$(cat "$BEARER_TOKEN_FILE") "gfal-$@"; }
gfal copy -f "file://$WORK/made" "$web/$KIND/gfal"
gfal sum "$web/$KIND/gfal" ADLER32
gfal copy -f "$web/$KIND/gfal" "file://$WORK/gfal-web"; cmp made gfal-web
davix-get -H "Authorization: Bearer $(cat "$BEARER_TOKEN_FILE")" "$web/$KIND/curl" davix
cmp made davix
$PYTHON - "$host" "$mine/$KIND" <<'END'
import sys, fsspec, numpy, uproot
host, folder = sys.argv[1:]
with uproot.recreate("t.root") as file:
    file["tree"] = {"x": numpy.arange(1000.0)}
with fsspec.open(f"root://{host}/{folder}/t.root", "wb") as out:
    out.write(open("t.root", "rb").read())
assert "t.root" in " ".join(fsspec.filesystem("root", hostid=host).ls(folder, detail=False))
with fsspec.open(f"https://{host}:8443{folder}/t.root") as file:
    assert file.read() == open("t.root", "rb").read()
for url in (f"root://{host}/{folder}/t.root", f"https://{host}:8443{folder}/t.root"):
    assert uproot.open(f"{url}:tree")["x"].array(library="np").sum() == 499500
    assert len(uproot.open(f"{url}:tree").arrays()) == 1000
    assert sum(len(part) for part in uproot.iterate([f"{url}:tree", f"{url}:tree"])) == 2000
    assert len(uproot.concatenate([f"{url}:tree", f"{url}:tree"])) == 2000
END
echo all well
"""
SUBMIT = """\
executable = try.sh
arguments = "{name} python3"
use_oauth_services = farmlet
request_memory = 700
output = {name}.out
error = {name}.err
log = jobs.log
{more}
queue
"""
CELL = """
import json, subprocess
done = subprocess.run(["./try.sh", "notebook", "python3"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
print(json.dumps(done.stdout))
"""
DRONE = "requirements = TARGET.FarmletSite =!= undefined"
OWN = "+WantLocal = true\ncontainer_image = /cvmfs/unpacked/analysis"


@pytest.fixture(scope="module")
def cleo(sandbox: Sandbox, running: Sandbox) -> Person:
    """Has consented to a credential, and done nothing else."""
    person = Person.join(sandbox, "cleo", "lab")
    until(lambda: person.try_ssh("true").returncode == 0, 30)
    give(person, "cat > try.sh && chmod +x try.sh", SCRIPT.replace("@HOST@", f"head.{sandbox.domain}"))
    give(person, "farmlet-credential --stdin", person.authorise(f"offline_access {STORAGE}", client="batch").refresh_token)
    return person


def give(person: Person, command: str, text: str) -> None:
    done = subprocess.run(person.command(command), input=text, text=True, capture_output=True, timeout=60)
    assert done.returncode == 0, done


def test_on_a_log_in_node(cleo: Person) -> None:
    said = cleo.try_ssh("./try.sh node /opt/farmlet/analysis/bin/python")
    assert said.stdout.endswith("all well\n"), said


def test_in_a_notebook(cleo: Person) -> None:
    hub = notebooks.enter(cleo)
    until(lambda: f'"{cleo.name}"' in cleo.sandbox.exec("head", "cat /etc/farmlet/notebooks/roster.json"), 60)
    hub.start()
    try:
        assert notebooks.run_cell(cleo, hub, CELL)[-9:] == "all well\n"
    finally:
        hub.stop()


def test_what_the_guide_says_of_curl_is_so(cleo: Person) -> None:
    """As for a dCache in tests/service/test_dcache_guide.py."""
    text = "\n".join(["set -euo pipefail", "cd $(mktemp -d)", "head -c 3000000 /dev/urandom > data.root", *blocks(GUIDE, CURL)])
    give(cleo, "bash", text.replace("farmlet.test", cleo.sandbox.domain).replace("/users/ada", f"/users/{cleo.name}"))


def listen(marks: list[str], stop: threading.Event) -> set[str]:
    """Which of these texts travel between the nodes, as this host, which carries their network, sees it."""
    found = set()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.ntohs(3)) as wire:  # 3: ETH_P_ALL
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 20)
        wire.settimeout(0.2)
        while not stop.is_set():
            with suppress(TimeoutError):
                packet = wire.recv(1 << 16)
                found |= {mark for mark in marks if mark.encode() in packet}
    return found


def test_data_and_token_travel_encrypted(cleo: Person) -> None:
    """By `root://` too, for the server has TLS for clients that can it: xrdcp keeps it up for data of one stream."""
    host, folder = f"tier1.sites.{cleo.sandbox.domain}", f"/users/{cleo.name}/marks"
    marks = {kind: secrets.token_hex(20) for kind in ("root", "roots", "https", "udp")}
    bearer = '-H "Authorization: Bearer $(cat $BEARER_TOKEN_FILE)"'
    send = "; ".join(
        (
            *(f"echo {mark} > {kind}.mark" for kind, mark in marks.items()),
            *(f"xrdcp -f {kind}.mark {kind}://{host}/{folder}/{kind}.mark" for kind in ("root", "roots")),
            f"curl -sS --fail --location {bearer} -T https.mark https://{host}:8443{folder}/https.mark",
            # what is heard if nobody encrypts it
            f"bash -c 'cat udp.mark > /dev/udp/{host}/9'",
        )
    )
    token = cleo.ssh("cat $BEARER_TOKEN_FILE").split(".")[2]
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        heard = pool.submit(listen, [*marks.values(), token], stop)
        try:
            cleo.ssh(f"set -e; {send}")
        finally:
            stop.set()
        assert heard.result() == {marks["udp"]}


@pytest.mark.parametrize(("name", "more"), (("drone", DRONE), ("own", OWN)), ids=("drone", "own"))
def test_in_jobs(cleo: Person, name: str, more: str) -> None:
    give(cleo, f"cat > {name}.sub && condor_submit -terse {name}.sub", SUBMIT.format(name=name, more=more))
    until(lambda: not cleo.ssh("condor_q -af ClusterId"), 240)
    assert cleo.ssh(f"cat {name}.out {name}.err").endswith("all well")


def test_members_find_the_elements_on_each_node(cleo: Person) -> None:
    found = json.loads(cleo.ssh("cat /etc/farmlet/storage.json"))["elements"]
    urls = {row["name"]: row["url"] for row in found}
    assert urls == {
        "head": f"https://head.{cleo.sandbox.domain}:8443",
        "tier1": f"https://tier1.sites.{cleo.sandbox.domain}:8443",
    }
