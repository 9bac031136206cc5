"""Part `identity`: the issuer of the facility's tokens and the ledger of its members, on the control node."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence

from farmlet.facility.rights import PROBE
from farmlet.parts import units
from farmlet.parts.identity.config import Section
from farmlet.parts.part import Check, Context, Part, Role
from farmlet.parts.resources import (
    Account,
    Command,
    Directory,
    Farmlet,
    File,
    Packages,
    Random,
    Resource,
    Unit,
)
from farmlet.runtime import oauth

PACKAGE = "farmlet.parts.identity"
USER = "farmlet-identity"
CONFIG = "/etc/farmlet/identity.json"
FOLDER = "/var/lib/farmlet/identity"
SECRET_KEY = "/etc/farmlet/identity.key"
PASSFILE = "/etc/farmlet/identity.pgpass"  # an administrator's, where PostgreSQL wants a password
PROGRAM = f"{units.SERVICE}/bin/python -m {PACKAGE}.service --config {CONFIG}"

STORAGE = ("storage.read:/", "storage.modify:/", "storage.create:/", "storage.stage:/")
# compute.… is for clients that are registered for it: it names no owner, so at a site it would open others' jobs too
PERSON = ("openid", "profile", "email", "offline_access", "wlcg", "wlcg:1.0", "wlcg.groups", *STORAGE)
PROBES = (f"storage.read:{PROBE}", f"storage.modify:{PROBE}")
DEVICE = (oauth.DEVICE_CODE, "refresh_token")

ANY = "https://wlcg.cern.ch/jwt/v1/any"  # WLCG Common JWT Profile 1.x: a token for anybody

WEB = units.Web(
    name="farmlet-identity",
    socket="identity",
    description="Farmlet identity",
    user=USER,
    app=f"{PACKAGE}.service.wsgi:application",
    # those who wait at the feed of changes hold a thread each
    threads=16,
    writable=(FOLDER,),
    environment={"FARMLET_IDENTITY_CONFIG": CONFIG},
)


UPKEEP = units.Service(
    name="farmlet-identity-upkeep",
    description="Farmlet identity: turn keys, announce whose end has come, delete what has ended",
    user=USER,
    command=f"{PROGRAM} keys turn",
    then=(f"{PROGRAM} member expire", f"{PROGRAM} prune"),
    kind="oneshot",
    writable=(FOLDER,),
    install=False,
)
TIMER = """\
[Unit]
Description=Farmlet identity: each hour

[Timer]
OnCalendar=hourly
RandomizedDelaySec=10m
Persistent=true

[Install]
WantedBy=timers.target
"""


def install_provider() -> Sequence[Resource]:
    return (Packages(("python3-venv",)),)


def client(name: str, scopes: Sequence[str], grants: Sequence[str], secret: str = "", audiences: Sequence[str] = ()) -> Command:
    """The step that registers one of our own clients; without `secret` (a path) it is public, without `audiences` for anybody."""
    words = ["client", "ensure", name, *(["--secret-file", secret] if secret else ["--public"])]
    words += [word for grant in grants for word in ("--grant", grant)]
    words += [word for scope in scopes for word in ("--scope", scope)]
    words += [word for audience in audiences for word in ("--audience", audience)]
    return Command(f"client {name}", f"{PROGRAM} {shlex.join(words)}", user=USER)


def configuration(context: Context) -> dict[str, object]:
    """What the service reads at its start; see `service.configuration`."""
    facility, section = context.facility, context.section("identity")
    return {
        "issuer": facility.issuer,
        "title": facility.title or facility.name,
        "database": section.database if section.database != "sqlite" else f"{FOLDER}/db.sqlite3",
        "passfile": PASSFILE,
        "audit": f"{FOLDER}/audit.log",
        "keys": f"{FOLDER}/keys",
        "secret_key_file": SECRET_KEY,
        "rights": facility.rights.to_json(),
        "lifetimes": {"access": 3600, "refresh": 30 * 86400},
        "device_interval": 2,  # seconds between a device's questions (RFC 8628 §3.5)
        "registration": section.registration,
        "uid_base": section.first_uid,
        "gid_base": section.first_gid,
    }


def configure_provider(context: Context) -> Sequence[Resource]:
    return (
        Account(USER),
        Directory(FOLDER, 0o700, USER, USER),
        Directory(f"{FOLDER}/keys", 0o700, USER, USER),
        Directory(f"{FOLDER}/clients", 0o700, USER, USER),
        Random(SECRET_KEY, mode=0o600, owner=USER, group=USER),
        Farmlet(units.SERVICE, context.wheel),
        # the order of the groups counts, so keys are not sorted
        File(CONFIG, json.dumps(configuration(context), indent=1) + "\n"),
        Command("identity database", f"{PROGRAM} migrate", user=USER),
        Command("identity signing keys", f"{PROGRAM} keys ensure", user=USER),
        Command("identity groups", f"{PROGRAM} groups ensure", user=USER),
        client("farmlet", PERSON, DEVICE),
        # what jobs carry opens storage, never a log-in
        client("batch", (*PERSON[3:],), DEVICE, audiences=(ANY, *context.elements)),
        client("accounts", ("scim:read",), ("client_credentials",), f"{FOLDER}/clients/accounts.secret"),
        # the check of storage: a corner of its own on each element, which is nobody else's business
        client("storage", PROBES, ("client_credentials",), f"{FOLDER}/clients/storage.secret", context.elements or [ANY]),
        *WEB.files,
        *WEB.units,
        UPKEEP.file,
        File(f"/etc/systemd/system/{UPKEEP.name}.timer", TIMER),
        Unit(f"{UPKEEP.name}.timer"),
    )


def check_provider(context: Context) -> Sequence[Check]:
    return (
        Check("identity.provider.unit", "farmlet.runtime.checks:check_unit", {"unit": "farmlet-identity.service"}),
        Check("identity.provider.audit", f"{PACKAGE}.checks:check_audit", {"path": f"{FOLDER}/audit.log"}),
        Check("identity.provider.keys", f"{PACKAGE}.checks:check_keys", {"folder": f"{FOLDER}/keys"}),
        Check("identity.provider.issuer", f"{PACKAGE}.checks:check_issuer", {"issuer": f"https://{context.node.fqdn}"}),
    )


PART = Part(
    name="identity",
    summary="members, groups and the facility's tokens",
    section=Section,
    needs=("base",),
    roles=(Role("provider", "control", configure_provider, install_provider, check_provider, data=(FOLDER,)),),
)
