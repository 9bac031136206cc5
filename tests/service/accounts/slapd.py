"""Real OpenLDAP servers in temporary folders: one as part accounts configures ours, one as somebody else might have it."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from farmlet.parts.accounts.deploy import PACKAGE
from farmlet.parts.render import render
from waiting import find_port

PROGRAM, ADD = shutil.which("slapd", path="/usr/sbin:/usr/bin"), shutil.which("slapadd", path="/usr/sbin:/usr/bin")
BASE, BIND, SECRET = "dc=example,dc=org", "cn=farmlet,ou=services,dc=example,dc=org", "not-a-default-5f1e"

EXISTING = """
dn: olcDatabase={{0}}config,cn=config
objectClass: olcDatabaseConfig
olcDatabase: {{0}}config

dn: olcDatabase={{1}}mdb,cn=config
objectClass: olcDatabaseConfig
objectClass: olcMdbConfig
olcDatabase: {{1}}mdb
olcDbDirectory: {folder}/data
olcSuffix: dc=example,dc=org
olcLimits: dn.exact="{bind}" size=unlimited
olcAccess: {{0}}to dn.subtree="ou=People,dc=example,dc=org" by dn.exact="{bind}" write by * read
olcAccess: {{1}}to dn.subtree="ou=groups,dc=example,dc=org" by dn.exact="{bind}" write by * read
olcAccess: {{2}}to attrs=userPassword by anonymous auth by * none
olcAccess: {{3}}to * by * read
"""

# whoever was there before: one of a member's name, one of a member's number, a group of a group's name
ENTRIES = """
dn: dc=example,dc=org
objectClass: dcObject
objectClass: organization
dc: example
o: Example

dn: ou=People,dc=example,dc=org
objectClass: organizationalUnit
ou: People

dn: ou=groups,dc=example,dc=org
objectClass: organizationalUnit
ou: groups

dn: ou=services,dc=example,dc=org
objectClass: organizationalUnit
ou: services

dn: {bind}
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: farmlet
userPassword: {secret}

dn: uid=bob,ou=People,dc=example,dc=org
objectClass: account
objectClass: posixAccount
uid: bob
cn: Bob of somebody else
uidNumber: 1500
gidNumber: 1500
homeDirectory: /home/bob

dn: cn=Carla Old,ou=People,dc=example,dc=org
objectClass: account
objectClass: posixAccount
uid: old
cn: Carla Old
uidNumber: 20002
gidNumber: 1500
homeDirectory: /home/old

dn: uid=leader,ou=People,dc=example,dc=org
objectClass: account
objectClass: posixAccount
uid: leader
cn: A member of another facility
uidNumber: 1600
gidNumber: 1600
homeDirectory: /home/leader
description: farmlet@other.example.org sub-9
"""
GUESTS = """
dn: cn=guests,ou=groups,dc=example,dc=org
objectClass: posixGroup
cn: guests
gidNumber: 1700
memberUid: bob
"""


@dataclass(frozen=True)
class Running:
    """A server; `uri`: where we write, `plain`: ldap:// of the same. `ca`: PEM file of its certificate."""

    folder: Path
    uri: str
    plain: str = ""
    port: int = 0

    @property
    def ca(self) -> str:
        return str(self.folder / "tls.crt")

    def kill(self) -> None:
        """At once, as a machine that loses its power."""
        os.kill(int((self.folder / "pid").read_text()), 9)


@contextlib.contextmanager
def make(existing: bool, auxiliary: bool = False) -> Iterator[Path]:
    """The folder of a configured server. `auxiliary`: its groups are those of RFC 2307bis."""
    assert PROGRAM and ADD, "slapd is missing: make service"
    folder = Path(tempfile.mkdtemp(prefix="farmlet-ldap-"))
    try:
        for name in ("slapd.d", "data"):
            (folder / name).mkdir()
        words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
        # libldap takes localhost for this machine's name
        names = ",".join(f"DNS:{name}" for name in {"localhost", socket.gethostname(), socket.getfqdn()})
        words += ["-subj", "/CN=localhost", "-addext", f"subjectAltName={names}", "-keyout", "tls.key", "-out", "tls.crt"]
        subprocess.run(words, cwd=folder, check=True, capture_output=True)
        text = _configure(folder, existing)
        if auxiliary:
            nis = Path("/etc/ldap/schema/nis.ldif").read_text().replace("\n ", "")
            told, _, rest = nis.partition("NAME 'posixGroup'")
            nis = f"{told}NAME 'posixGroup'{rest.replace('STRUCTURAL', 'AUXILIARY', 1)}"
            (folder / "bis.ldif").write_text(nis)
            text = text.replace("/etc/ldap/schema/nis.ldif", f"{folder}/bis.ldif")
        _load(folder, "0", text)
        if existing:
            _load(folder, "1", ENTRIES.format(bind=BIND, secret=SECRET) + ("" if auxiliary else GUESTS))
            (folder / "password").write_text(SECRET + "\n")
            (folder / "password").chmod(0o600)
        yield folder
    finally:
        shutil.rmtree(folder)


@contextlib.contextmanager
def serve(existing: bool = False, auxiliary: bool = False) -> Iterator[Running]:
    """A running server."""
    with make(existing, auxiliary) as folder, run(folder, existing) as running:
        yield running


@contextlib.contextmanager
def run(folder: Path, existing: bool) -> Iterator[Running]:
    """A server on what is in `folder`."""
    running = _place(folder, existing)
    uris = f"{running.uri}/ {running.plain}/".strip() if existing else running.uri
    words = [str(PROGRAM), "-d0", "-F", str(folder / "slapd.d"), "-h", uris]
    with (folder / "log").open("ab") as log, subprocess.Popen(words, stdout=log, stderr=log) as process:
        try:
            _wait(running, process)
            yield running
        finally:
            process.terminate()
            process.wait(20)


def _configure(folder: Path, existing: bool) -> str:
    certificate, key = str(folder / "tls.crt"), str(folder / "tls.key")
    text = render(PACKAGE, "slapd.ldif", certificate=certificate, key=key, folder=str(folder / "data"), base="dc=farmlet,dc=test")
    text = text.replace("/run/slapd/slapd.pid", str(folder / "pid")).replace("/run/slapd/slapd.args", str(folder / "args"))
    text = text.replace("@UID@", str(os.getuid())).replace("@GID@", str(os.getgid()))
    if existing:  # the schema and little else as ours
        text = text.partition("dn: olcDatabase={-1}frontend")[0] + EXISTING.format(folder=folder, bind=BIND)
        text = "\n".join(
            line for line in text.splitlines() if not line.startswith(("olcDisallows", "olcLocalSSF", "olcSecurity"))
        )
    return text


def _load(folder: Path, database: str, text: str) -> None:
    (folder / "load.ldif").write_text(text)
    words = [str(ADD), "-n", database, "-F", "slapd.d", "-l", "load.ldif"]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def _place(folder: Path, existing: bool) -> Running:
    if not existing:
        return Running(folder, f"ldapi://{urllib.parse.quote(str(folder / 'ldapi'), safe='')}")
    ports = [find_port(), find_port()]
    return Running(folder, f"ldaps://localhost:{ports[0]}", f"ldap://localhost:{ports[1]}", ports[0])


def _wait(running: Running, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while not _answers(running):
        assert process.poll() is None and time.monotonic() < deadline, (running.folder / "log").read_text()
        time.sleep(0.05)


def _answers(running: Running) -> bool:
    with socket.socket(socket.AF_INET if running.port else socket.AF_UNIX) as probe:
        return probe.connect_ex(("localhost", running.port) if running.port else str(running.folder / "ldapi")) == 0
