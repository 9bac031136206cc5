"""The issuer's keys in an emergency, against the real storage and the real SSH authority."""

from __future__ import annotations

import subprocess
import urllib.error

import pytest
from conftest import Sandbox, until
from person import Person

from farmlet.parts.identity.deploy import FOLDER, PROGRAM, USER
from farmlet.runtime.oauth import Tokens

pytestmark = [pytest.mark.facility, pytest.mark.usefixtures("running"), pytest.mark.timeout(600)]
BOUND = 60.0  # seconds until what an old key signed is refused everywhere in the facility
KNOWN = 60.0  # seconds for which XRootD remembers what a token was good for
# libscitokens asks an issuer for its keys again ten minutes after it did; this makes ten minutes pass
AGE = """
import json, sqlite3
with sqlite3.connect("/var/cache/farmlet-storage/scitokens/scitokens_cpp.sqllite") as cache:
    for issuer, text in cache.execute("select issuer, keys from keycache").fetchall():
        due = json.dumps(json.loads(text) | {"next_update": 1})
        cache.execute("update keycache set keys = ? where issuer = ?", (due, issuer))
"""


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
    until(lambda: is_given_a_certificate(rosa), 10)  # who meets an unknown key asks for keys again, every 5 s at most
    until(lambda: rosa.try_ssh("true").returncode == 0, 15)
    until(lambda: all(row["ok"] for row in sandbox.json("check")), 60)


def is_given_a_certificate(person: Person) -> bool:
    try:
        person.take_certificate()
    except urllib.error.HTTPError as error:
        assert error.code == 401
        return False
    return True


def test_what_a_removed_key_signed_is_refused_once_storage_asks_for_keys_again(sandbox: Sandbox, running: Sandbox) -> None:
    """As when an admin takes a key's file away, or it has come to its end: nobody tells storage."""
    rolf = Person.join(sandbox, "rolf", "lab")
    storage = f"https://head.{sandbox.domain}:8443/"
    before = rolf.authorise("openid offline_access storage.read:/")
    assert ask(rolf, storage, before.access_token) == "207"
    sandbox.exec("service", f"rm {FOLDER}/keys/*-ES256.pem && runuser -u {USER} -- {PROGRAM} keys ensure")
    after = until_signed_anew(rolf, before)
    sandbox.exec("head", f"python3 - <<'.'\n{AGE}.\n")
    # what it remembers, and once more what it looks at while another thread of it asks for the keys
    until(lambda: ask(rolf, storage, before.access_token) == "403", 2 * KNOWN + 10)
    assert ask(rolf, storage, after.access_token) == "207"


def until_signed_anew(person: Person, tokens: Tokens) -> Tokens:
    """Tokens of another key than these."""
    found = tokens
    while header(found) == header(tokens):
        found = person.refresh(found)
    return found


def header(tokens: Tokens) -> str:
    return tokens.access_token.split(".")[0]
