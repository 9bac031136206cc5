"""Jobs and sessions with tokens that live a minute, and what lies on the access point for them."""

from __future__ import annotations

import base64
import json
import subprocess

from person import Person
from sandbox import Sandbox, until

from farmlet.parts.identity.deploy import ANY, DEVICE, PERSON, USER, client

LIFE = 60  # seconds of a token
FOLDER = "/var/lib/condor/oauth_credentials"

JOB = """#!/usr/bin/env python3
import base64, json, os, sys, time, urllib.request
def token():
    return open(os.environ["BEARER_TOKEN_FILE"]).read()
def end():
    part = token().split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))["exp"]
until = time.time() + float(sys.argv[1])
while time.time() < until:
    print(int(time.time()), end(), flush=True)
    time.sleep(2)
headers = {"Authorization": f"Bearer {token()}"}
print(urllib.request.urlopen(urllib.request.Request(sys.argv[2], b"at the end", headers, method="PUT")).status)
"""
SUBMIT = """
executable = job.py
arguments = "{arguments}"
use_oauth_services = farmlet
request_memory = 128
log = jobs.log
output = {name}.out
error = {name}.err
{more}
queue
"""


def join(sandbox: Sandbox, name: str) -> Person:
    person = Person.join(sandbox, name, "lab")
    until(lambda: person.try_ssh("true").returncode == 0, 30)
    person.ssh(f"cat > job.py <<'.'\n{JOB}.\nchmod +x job.py")
    return person


def write(person: Person, name: str, arguments: str, more: str = "") -> str:
    """The command that submits a job."""
    person.ssh(f"cat > {name}.sub <<'.'\n{SUBMIT.format(name=name, arguments=arguments, more=more)}.\n")
    return f"condor_submit -terse {name}.sub"


def secret(sandbox: Sandbox, name: str) -> str:
    """A member's refresh token, as it is now."""
    return str(json.loads(sandbox.exec("head", f"cat {FOLDER}/{name}/farmlet.top"))["refresh_token"])


def claims(token: str) -> dict[str, object]:
    part = token.split(".")[1]
    return dict(json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))))


def usual(sandbox: Sandbox) -> str:
    """The command that registers the client of jobs as `up` does."""
    audiences = (ANY, f"https://head.{sandbox.domain}:8443", f"https://tier1.sites.{sandbox.domain}:8443")
    return client("batch", PERSON[3:], DEVICE, audiences=audiences).run


def shorten(sandbox: Sandbox, life: int | None) -> None:
    """Tokens of jobs live so many seconds; None: as usual."""
    more = f"--access-lifetime {life}" if life else ""
    sandbox.exec("service", f"runuser -u {USER} -- {usual(sandbox)} {more}")


def deposit(person: Person) -> str:
    """A credential of the member without a terminal: its refresh token."""
    token = person.authorise("offline_access storage.read:/ storage.modify:/", client="batch").refresh_token
    subprocess.run(person.command("farmlet-credential --stdin"), input=token, text=True, check=True, capture_output=True)
    return token
