"""Members who come to the Hub, for tests."""

from __future__ import annotations

import json
import secrets
import socket
import subprocess
import urllib.error
import urllib.request
from importlib.resources import files
from typing import Any

from person import PASSWORD, Person
from sandbox import Sandbox, until

from farmlet.demo.notebook import Hub
from farmlet.demo.stage import Member
from farmlet.errors import FarmletError

_resolve = socket.getaddrinfo


def _lead(host: Any, *words: Any, **more: Any) -> Any:
    """Members' own names lead where the Hub's does: no DNS has them here."""
    return _resolve(host[host.index("notebooks.") :] if ".notebooks." in str(host) else host, *words, **more)


socket.getaddrinfo = _lead


def join(sandbox: Sandbox, name: str, *groups: str) -> Person:
    person = Person.join(sandbox, name + secrets.token_hex(2), *groups or ("lab",))
    until(lambda: f'"{person.name}"' in sandbox.exec("head", "cat /etc/farmlet/notebooks/roster.json"), 60)
    return person


def enter(person: Person) -> Hub:
    return Hub(f"https://notebooks.{person.sandbox.domain}", person.browser, Member(person.name, PASSWORD))


def ask(person: Person, url: str, token: str) -> int:
    """HTTP status of a page; 0 while nobody answers."""
    request = urllib.request.Request(url, headers={"Authorization": f"token {token}"})
    try:
        with person.browser._opener.open(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except TimeoutError:
        return 0


def is_ready(person: Person, hub: Hub) -> bool:
    """Whether the Hub knows the server as running."""
    try:
        told = person.browser.call("GET", f"{hub.url}/hub/api/users/{person.name}", hub.headers)
    except (FarmletError, OSError):
        return False
    return bool(told["servers"].get("", {}).get("ready"))


def find_containers(sandbox: Sandbox, name: str) -> str:
    """Of the containers or units that run a member's servers, what changes when one is begun anew."""
    units = f"systemctl show --value -p InvocationID 'farmlet-server-{name}*.service' | grep . || true"
    containers = f"docker ps --quiet --filter label=farmlet.member={name}"
    return sandbox.exec(
        "head", f"if [ -e /etc/systemd/system/farmlet-server-.service.d/farmlet.conf ]; then {units}; else {containers}; fi"
    )


def read(person: Person, url: str, token: str) -> str:
    """The text of a page."""
    request = urllib.request.Request(url, headers={"Authorization": f"token {token}"})
    with person.browser._opener.open(request, timeout=60) as answer:
        return str(answer.read().decode())


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
