"""The issuer's keys in an emergency, against the real storage and the real SSH authority."""

from __future__ import annotations

import subprocess

import pytest
from conftest import Sandbox
from person import Person
from test_3_leaving import until

pytestmark = [pytest.mark.facility, pytest.mark.usefixtures("running"), pytest.mark.timeout(600)]
BOUND = 60.0  # seconds until what an old key signed is refused everywhere in the facility


def ask(person: Person, url: str, token: str) -> str:
    """HTTP status of a listing by WebDAV; the token goes by standard input."""
    given = f'header = "Authorization: Bearer {token}"\n'
    options = ["--silent", "--cacert", person.ca, "--request", "PROPFIND", "--header", "Depth: 0", "--output", "/dev/null"]
    command = ["curl", *options, "--write-out", "%{http_code}", "--config", "-", url]
    return subprocess.run(command, input=given, capture_output=True, text=True, timeout=60, check=True).stdout


def test_what_an_old_key_signed_is_refused_everywhere(sandbox: Sandbox, running: Sandbox) -> None:
    rosa = Person.join(sandbox, "rosa", "lab")
    storage = f"https://head.{sandbox.domain}:8443/"
    before = rosa.authorise("openid offline_access storage.read:/")
    assert ask(rosa, storage, before.access_token) == "207"
    said = sandbox.json("rotate", "issuer", "--now")
    assert said["failed"] == [] and said["forgot"]
    assert until(lambda: ask(rosa, storage, before.access_token) == "403", BOUND) <= BOUND
    # connections outlive the keys: programs go on without their people
    after = rosa.refresh(before)
    assert until(lambda: ask(rosa, storage, after.access_token) == "207", BOUND) <= BOUND
    rosa.take_certificate()
    until(lambda: rosa.try_ssh("true").returncode == 0, 15)
    until(lambda: all(row["ok"] for row in sandbox.json("check")), 60)
