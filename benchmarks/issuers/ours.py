"""The facility's own service, with members, a client and connections to refresh."""

from __future__ import annotations

import json
import secrets
import sys
from pathlib import Path

from record import ROOT

from issuers.server import Server

APPLICATION = "farmlet.parts.identity.service.django.wsgi:application"
MODULE = "farmlet.parts.identity.service"
GROUPS = ("lab", "lab/production", "guests")
# what the deployment never does, written straight into the database
FILL = """
import secrets, sys, uuid
from datetime import timedelta
from pathlib import Path
from django.utils import timezone
from farmlet.parts.identity.service.django.configuration import load_configuration
from farmlet.parts.identity.service.django.project import start
provider = start(load_configuration(Path(sys.argv[1])), "-")
from farmlet.parts.identity.service.members.members import digest
from farmlet.parts.identity.service.django.models import Client, Connection, Entry, Group, Member
count, connections = int(sys.argv[2]), int(sys.argv[3])
have = Member.objects.count()
names = [f"user{number}" for number in range(have, have + count)]
entries = Entry.objects.bulk_create([Entry(name=name, number=100000 + have + n, kind="member") for n, name in enumerate(names)])
members = Member.objects.bulk_create(
    [Member(name=name, entry=entry, state="active", display=name, email=f"{name}@example.org", password="!")
     for name, entry in zip(names, entries)])
groups = [Group.objects.get(path="lab"), Group.objects.get(path="lab/production")]
through = Member.groups.through
through.objects.bulk_create([through(member=member, group=groups[n % 2]) for n, member in enumerate(members)])
now, client = timezone.now(), Client.objects.get(client_id="bench")
for member in members[:connections]:
    made = uuid.uuid4()
    token = f"{made}.{secrets.token_urlsafe(32)}"
    Connection.objects.create(
        id=made, member=member, client=client, scope="storage.read:/ storage.modify:/data wlcg.groups offline_access",
        audience="https://wlcg.cern.ch/jwt/v1/any",
        current=[digest(token)], authenticated=now, expires=now + timedelta(days=30))
    print(token)
"""


def build(folder: Path, name: str = "farmlet") -> Server:
    """A service ready to start: 100 members, 4 connections."""
    folder.mkdir()
    secret = secrets.token_hex(32)
    environment = {"FARMLET_IDENTITY_CONFIG": str(folder / "identity.json"), "PYTHONPATH": str(ROOT / "src")}
    server = Server(name, folder, sys.executable, APPLICATION, "/token/", f"bench:{secret}", environment)
    (folder / "secret").write_text(secret)
    (folder / "identity.json").write_text(json.dumps(_configure(server)))
    command = ("-m", MODULE, "--config", str(folder / "identity.json"))
    for words in (("migrate",), ("keys", "ensure"), ("groups", "ensure"), _client("bench", folder)):
        server.run(*command, *words)
    server.refresh = fill(server, 100, 4)
    return server


def fill(server: Server, members: int, connections: int = 0) -> list[str]:
    """Add members; the refresh tokens of the connections made for them."""
    return server.run("-c", FILL, str(server.folder / "identity.json"), str(members), str(connections)).split()


def _client(name: str, folder: Path) -> tuple[str, ...]:
    scopes = "scim:read openid offline_access wlcg.groups storage.read:/ storage.modify:/"
    grants = ("--grant=client_credentials", "--grant=refresh", "--grant=device")
    return ("client", "ensure", name, "--secret-file", str(folder / "secret"), *grants, "--scope", scopes)


def _configure(server: Server) -> dict[str, object]:
    line = {"read": ["/"], "write": ["/users/{user}"], "login": True}
    return {
        "issuer": server.url,
        "title": "Benchmark",
        "database": str(server.folder / "db.sqlite3"),
        "keys": str(server.folder / "keys"),
        "secret_key_file": str(server.folder / "key"),
        "rights": {"groups": [{"path": path, **line} for path in GROUPS]},
    }
