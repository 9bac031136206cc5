"""The issuer's keys in an emergency, against the real storage and the real SSH authority."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
from typing import Any

import pytest
from person import Person
from sandbox import Sandbox, until

from farmlet.engine.layout import CERTIFICATES
from farmlet.parts.base.renewal import find_end
from farmlet.parts.identity.deploy import FOLDER, PROGRAM, USER
from farmlet.runtime import certificates
from farmlet.runtime.oauth import Tokens

pytestmark = [
    pytest.mark.facility,
    pytest.mark.disturbs("identity", "storage", "access"),
    pytest.mark.usefixtures("running"),
    pytest.mark.timeout(600),
]
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


PORTS = (("head", 443), ("head", 8443), ("service", 443), ("service", 636))


def count_days(certificate: str) -> float:
    return (find_end(certificate.encode()) - time.time()) / 86400 if certificate else 0.0


def show(sandbox: Sandbox) -> list[float]:
    """For how many days the certificates are good that the services show; 0 for one that does not answer."""
    asked = "echo | openssl s_client -connect {0}.{2}:{1} 2>/dev/null | openssl x509 2>/dev/null || true"
    return [count_days(sandbox.exec(node, asked.format(node, port, sandbox.domain))) for node, port in PORTS]


def make_short(sandbox: Sandbox, node: str, row: dict[str, Any]) -> None:
    """A certificate that ends in twelve days, in place of a node's own; its service uses it."""
    folder = sandbox.folder / ".farmlet" / sandbox.name
    authority, key = (folder / "ca.crt").read_bytes(), certificates.load_key((folder / "ca.key").read_bytes())
    request = sandbox.exec(node, f"openssl req -new -key {row['key']} -subj /CN=x")
    made = certificates.sign(authority, key, certificates.read_request(request), row["names"], row["client"], 12)
    sandbox.exec(node, f"cat > {row['path']} <<'.'\n{made}.\n{' '.join(row['reload'])}")


@pytest.mark.disturbs("base", "identity", "accounts", "access", "storage")
def test_nodes_renew_their_certificates_without_up(sandbox: Sandbox, running: Sandbox) -> None:
    """What the services show in the end is what counts; and `up` has nothing to mend."""
    for node in ("head", "service"):
        sandbox.exec(node, "systemctl stop farmlet-agent")
        for row in json.loads(sandbox.exec(node, f"cat {CERTIFICATES}"))["renew"]:
            make_short(sandbox, node, row)
    until(lambda: all(0 < days < 13 for days in show(sandbox)), 60)
    for node in ("head", "service"):
        sandbox.exec(node, "systemctl start farmlet-agent")  # it looks when it starts, then every ten minutes
    until(lambda: all(days > 29 for days in show(sandbox)), 120)
    until(lambda: all(row["ok"] for row in json.loads(sandbox.run("check", "--json", code=None).stdout)), 90)
    sandbox.run("plan")
