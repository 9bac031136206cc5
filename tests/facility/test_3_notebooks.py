"""Notebooks: a real Hub, and a server of a new member's own."""

from __future__ import annotations

import json
import secrets
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import pytest
from jobs import deposit
from person import PASSWORD, Person
from sandbox import Sandbox, until

from farmlet.demo.notebook import Hub
from farmlet.demo.stage import Member
from farmlet.errors import FarmletError

pytestmark = [pytest.mark.facility, pytest.mark.usefixtures("running"), pytest.mark.timeout(600)]
# what a cell prints of itself: who it is, its token's owner at storage, and whom it reaches
PROBE = """
import json, os, pathlib, socket, subprocess, urllib.request
def reach(host, port):
    try:
        socket.create_connection((host, port), 2).close()
        return True
    except OSError:
        return False
token = pathlib.Path(os.environ["BEARER_TOKEN_FILE"]).read_text().strip()
request = urllib.request.Request("https://head.{domain}:8443/users/{name}/note", headers={{"Authorization": "Bearer " + token}})
print(json.dumps({{
    "id": subprocess.check_output(["id"], text=True).strip(),
    "home": str(pathlib.Path.home()),
    "note": urllib.request.urlopen(request, timeout=20).read().decode(),
    "image": pathlib.Path("/etc/farmlet-image").read_text().strip(),
    "socket": pathlib.Path("/run/docker.sock").exists(),
    "reached": [port for port in (443, 880, 881, 882, 2375, 2019) if reach("{gateway}", port)],
    "metadata": reach("169.254.169.254", 80),
    "capabilities": [line for line in open("/proc/self/status") if line.startswith("CapEff")][0].split()[1],
}}))
"""


def join(sandbox: Sandbox, name: str) -> Person:
    person = Person.join(sandbox, name + secrets.token_hex(2), "lab")
    until(lambda: f'"{person.name}"' in sandbox.exec("head", "cat /etc/farmlet/notebooks/roster.json"), 60)
    return person


def enter(person: Person) -> Hub:
    return Hub(f"https://notebooks.{person.sandbox.domain}", person.browser, Member(person.name, PASSWORD))


def ask(person: Person, url: str, token: str) -> int:
    """HTTP status of a page; 0 while nobody answers."""
    request = urllib.request.Request(url, headers={"Authorization": f"token {token}"})
    try:
        with person.browser._opener.open(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except TimeoutError:
        return 0


def find_containers(sandbox: Sandbox, name: str) -> str:
    return sandbox.exec("head", f"docker ps --quiet --filter label=farmlet.member={name}")


@pytest.fixture(scope="module")
def nora(sandbox: Sandbox, running: Sandbox) -> Person:
    person = join(sandbox, "nora")
    until(lambda: person.try_ssh("true").returncode == 0, 30)
    deposit(person)
    return person


@pytest.fixture(scope="module")
def hub(sandbox: Sandbox, nora: Person) -> Iterator[Hub]:
    """Nora's server, up."""
    found = enter(nora)
    found.start()
    yield found
    found.stop()


def give(person: Person, script: str, text: str) -> str:
    """What a script on head says that is given this on standard input."""
    done = subprocess.run(person.command(script), input=text, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, (script, done.stdout, done.stderr)
    return done.stdout


def run_cell(person: Person, hub: Hub, code: str) -> Any:
    """What a notebook of one cell prints, as JSON."""
    cell = {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": code}
    give(person, "cat > probe.ipynb", json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 4}))
    give(person, "cat > kernel.py", (files("farmlet.demo") / "analysis" / "kernel.py").read_text())
    trust = "cp /etc/ssl/certs/ca-certificates.crt authorities.pem"
    inside = "apptainer --quiet exec --containall --bind $PWD:/work --pwd /work --env SSL_CERT_FILE=/work/authorities.pem"
    words = f"{inside} /cvmfs/unpacked/analysis python3 kernel.py {hub.server} probe.ipynb"
    return json.loads(give(person, f"{trust} && {words}", f"{hub.token}\n"))


def test_a_notebook_is_its_member_with_home_and_token(sandbox: Sandbox, nora: Person, hub: Hub) -> None:
    url = f"https://head.{sandbox.domain}:8443/users/{nora.name}/note"
    nora.ssh(f'echo from storage > note && curl -sSf -H "Authorization: Bearer $(cat $BEARER_TOKEN_FILE)" -T note {url} >&2')
    gateway = sandbox.exec("head", "docker network inspect farmlet --format '{{(index .IPAM.Config 0).Gateway}}'")
    told = run_cell(nora, hub, PROBE.format(domain=sandbox.domain, name=nora.name, gateway=gateway))
    assert told["id"] == nora.ssh("id")
    assert told["home"] == f"/home/{nora.name}"
    assert told["note"] == "from storage\n"
    assert told["image"] == nora.ssh("cat /cvmfs/unpacked/analysis/etc/farmlet-image")
    assert told["reached"] == [443]
    assert not told["socket"] and not told["metadata"] and int(told["capabilities"], 16) == 0
    assert nora.ssh("stat -c %U probe.ipynb") == nora.name


def test_nobody_else_gets_in(sandbox: Sandbox, nora: Person, hub: Hub) -> None:
    other = join(sandbox, "olaf")
    theirs = enter(other)
    theirs.log_in()
    assert ask(nora, f"{hub.server}/api/contents", hub.token) == 200
    assert ask(other, f"{hub.server}/api/contents", theirs.token) in (403, 404)
    assert ask(other, f"{hub.url}/hub/api/users/{nora.name}", theirs.token) == 404
    where = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    address = sandbox.exec("head", f"docker inspect farmlet-notebook-{nora.name} --format '{where}'")
    until(lambda: other.try_ssh("true").returncode == 0, 30)
    # past the proxy; to Docker; to the Hub's files; to a port behind which log-ins pass
    tries = {
        f"curl -s --max-time 5 http://{address}:8888/": 7,
        "docker ps": 1,
        "cat /etc/farmlet/notebooks/settings.json": 1,
        "python3 -c \"import socket; socket.socket().bind(('127.0.0.1', 883))\"": 1,
    }
    assert {words: other.try_ssh(words).returncode for words in tries} == tries


def test_limits_hold_past_the_page(sandbox: Sandbox, running: Sandbox) -> None:
    person = join(sandbox, "petra")
    hub = enter(person)
    hub.log_in()
    with pytest.raises(FarmletError, match="you may have"):
        person.browser.call("POST", f"{hub.url}/hub/api/users/{person.name}/server", hub.headers, {"cores": 99, "image": "other"})
    assert find_containers(sandbox, person.name) == ""


def test_a_suspension_ends_the_server(sandbox: Sandbox, running: Sandbox) -> None:
    person = join(sandbox, "quinn")
    hub = enter(person)
    hub.start()
    assert find_containers(sandbox, person.name)
    sandbox.run("user", "suspend", person.name)
    until(lambda: not find_containers(sandbox, person.name), 30)
    until(lambda: person.name not in sandbox.exec("head", "ls /run/farmlet-notebooks"), 30)
    # the Hub has noticed, and nothing of it is open any more
    until(lambda: ask(person, f"{hub.server}/api/contents", hub.token) in (403, 404, 424), 60)
    with pytest.raises(FarmletError):
        enter(person).start()
