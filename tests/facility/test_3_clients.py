"""The clients of storage on a log-in node and in the image of jobs: each as it is installed, with a token in a file."""

from __future__ import annotations

import json
import subprocess

import pytest
from conftest import Sandbox
from person import Person
from test_3_leaving import until

pytestmark = [pytest.mark.facility, pytest.mark.usefixtures("running"), pytest.mark.timeout(600)]
# ENV is what a job has in its environment besides; nothing on a log-in node
SCRIPT = """\
set -eu
cd "$WORK"; export BEARER_TOKEN_FILE=$WORK/token
host=@HOST@ mine=/users/cleo
web=https://$host:8443$mine root=roots://$host/$mine
head -c 100000 /dev/urandom > made
printf 'header = "Authorization: Bearer %s"\\n' "$(cat token)" > curlrc
curl -sS --fail ${X509_CERT_DIR:+--capath "$X509_CERT_DIR"} -K curlrc -T made "$web/$KIND/curl"
xrdcp -f made "$root/$KIND/xrdcp"
xrdfs "roots://$host" ls "$mine/$KIND" | grep -q xrdcp
xrdcp -f "$root/$KIND/curl" back; cmp made back
gfal-copy -f "$root/$KIND/xrdcp" "file://$WORK/gfal-root"; cmp made gfal-root
gfal() { BEARER_TOKEN=$(cat "$BEARER_TOKEN_FILE") "gfal-$@"; }
gfal copy -f "file://$WORK/made" "$web/$KIND/gfal"
gfal sum "$web/$KIND/gfal" ADLER32
gfal copy -f "$web/$KIND/gfal" "file://$WORK/gfal-web"; cmp made gfal-web
authorities=${X509_CERT_DIR:-/etc/grid-security/certificates}
davix-get --capath "$authorities" -H "Authorization: Bearer $(cat token)" "$web/$KIND/curl" davix
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
END
echo all well
"""
IMAGE = "apptainer exec --containall --bind $HOME,/cvmfs --env WORK=$HOME,KIND=image,PYTHON=python3"
AUTHORITIES = "X509_CERT_DIR=/cvmfs/{domain}/certificates,SSL_CERT_FILE=/cvmfs/{domain}/certificates/bundle.pem"


@pytest.fixture(scope="module")
def cleo(sandbox: Sandbox, running: Sandbox) -> Person:
    person = Person.join(sandbox, "cleo", "lab")
    until(lambda: person.try_ssh("true").returncode == 0, 30)
    token = person.authorise("storage.read:/users/cleo storage.modify:/users/cleo").access_token
    script = SCRIPT.replace("@HOST@", f"head.{sandbox.domain}")
    for name, text in (("token", token), ("try.sh", script)):
        done = subprocess.run(person.command(f"umask 077; cat > {name}"), input=text, text=True, capture_output=True)
        assert done.returncode == 0, done
    return person


def test_on_a_log_in_node(cleo: Person) -> None:
    said = cleo.try_ssh("WORK=$HOME KIND=node PYTHON=/opt/farmlet/analysis/bin/python bash try.sh")
    assert said.stdout.endswith("all well\n"), said


def test_in_the_image_of_jobs(cleo: Person) -> None:
    authorities = AUTHORITIES.format(domain=cleo.sandbox.domain)
    said = cleo.try_ssh(f"{IMAGE},{authorities} /cvmfs/unpacked/analysis bash $HOME/try.sh")
    assert said.stdout.endswith("all well\n"), said


def test_members_find_the_elements_on_each_node(cleo: Person) -> None:
    found = json.loads(cleo.ssh("cat /etc/farmlet/storage.json"))["elements"]
    urls = {row["name"]: row["url"] for row in found}
    assert urls == {
        "head": f"https://head.{cleo.sandbox.domain}:8443",
        "tier1": f"https://tier1.sites.{cleo.sandbox.domain}:8443",
    }
