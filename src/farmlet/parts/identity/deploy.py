"""Part `identity`: the issuer of the facility's tokens and the ledger of its members, on the control node."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace

from farmlet.facility.model import Issuer, Route
from farmlet.facility.places import ANY, CONTROL, SEEN, SSH, find_secret
from farmlet.facility.scopes import PROBE
from farmlet.parts import units
from farmlet.parts.backup import keep_database
from farmlet.parts.identity.config import Section
from farmlet.parts.part import Check, Context, Metric, Part, Role
from farmlet.parts.resources import Account, Command, Directory, Farmlet, File, Packages, Random, Resource
from farmlet.runtime import oauth

PACKAGE = "farmlet.parts.identity"
USER = "farmlet-identity"
CONFIG = "/etc/farmlet/identity.json"
FOLDER = "/var/lib/farmlet/identity"
AUDIT_LOG = f"{FOLDER}/audit.log"
AUDIT = "/var/lib/farmlet/audit"  # what root remembers of the audit log, out of the reach of who writes it
OUTBOX = f"{CONTROL}/outbox"
SECRET_KEY = "/etc/farmlet/identity.key"
PASSFILE = "/etc/farmlet/identity.pgpass"  # an administrator's, where PostgreSQL wants a password
PROGRAM = f"{units.SERVICE}/bin/python -m {PACKAGE}.service --config {CONFIG}"

STORAGE = ("storage.read:/", "storage.modify:/", "storage.create:/", "storage.stage:/")
# compute.… is for clients that are registered for it: it names no owner, so at a site it would open others' jobs too
WHO = ("openid", "profile", "email", "offline_access", "wlcg", "wlcg:1.0", "wlcg.groups")
PERSON = (*WHO, *STORAGE)
PAGE = ("openid", "profile", "wlcg.groups")  # of a web service that only wants to know who comes
PROBES = (f"storage.read:{PROBE}", f"storage.modify:{PROBE}")
HOUR = 3600
DEVICE = (oauth.DEVICE_CODE, "refresh_token")


WEB = units.Web(
    name="farmlet-identity",
    socket="identity",
    description="Farmlet identity",
    user=USER,
    app=f"{PACKAGE}.service.django.wsgi:application",
    # those who wait at the feed of changes hold a thread each
    threads=16,
    writable=(FOLDER,),
    environment={"FARMLET_IDENTITY_CONFIG": CONFIG},
)


# Passwords cost a quarter of a second of a core each, by design: whoever guesses waits in a queue of people, and programs, which
# have the other threads, do not
PEOPLE = replace(
    WEB, name="farmlet-identity-people", socket="identity-people", description="Farmlet identity: passwords", threads=4
)


UPKEEP = units.Service(
    name="farmlet-identity-upkeep",
    description="Farmlet identity: rotate keys, announce whose end has come, delete what has ended",
    user=USER,
    command=f"{PROGRAM} keys rotate",
    then=(f"{PROGRAM} member expire", f"{PROGRAM} prune"),
    kind="oneshot",
    writable=(FOLDER,),
    install=False,
)
TIMER = units.Trigger(
    UPKEEP.name, "timer", "Farmlet identity: each hour", ("OnCalendar=hourly", "RandomizedDelaySec=10m", "Persistent=true")
)


def client(
    name: str,
    scopes: Sequence[str],
    grants: Sequence[str],
    secret: str = "",
    audiences: Sequence[str] = (),
    redirect: str = "",
    trusted: bool = True,
) -> Command:
    """The step that registers one of our own clients; without `secret` (a path) it is public, without `audiences` for whatever a
    member allows by name and opens no log-in. One with a `redirect` URI is a web service, and a `trusted` one of the facility's
    own: nobody is asked whether they allow it.
    """
    words = ["client", "ensure", name, "--own", *(["--secret-file", secret] if secret else ["--public"])]
    words += ["--redirect-uri", redirect, *(["--trusted"] if trusted else [])] if redirect else []
    words += [word for grant in grants for word in ("--grant", grant)]
    words += [word for scope in scopes for word in ("--scope", scope)]
    words += [word for audience in audiences for word in ("--audience", audience)]
    return Command(f"client {name}", f"{PROGRAM} {shlex.join(words)}", user=USER)


def mccli(context: Context) -> list[Command]:
    """The client by which other programs than `farmlet login` get a member into the nodes. oidc-agent names no audience when the
    member is asked, so this one is registered for nothing else: without a wish it asks for that.
    """
    hosts = [audience for audience in context.logins if audience != SSH]
    return [client("mccli", WHO, DEVICE, audiences=hosts)] if hosts else []


def tests_of_sites(context: Context) -> list[Command]:
    """The client of the jobs that test sites: each asks for a part of this corner of storage."""
    if not context.facility.has("sitetests.scheduler"):
        return []
    scopes, secret = [f"{one}/sitetests" for one in PROBES], f"{FOLDER}/clients/sitetests.secret"
    return [client("sitetests-jobs", scopes, ("client_credentials",), secret, context.elements or [ANY])]


def pages(context: Context) -> list[Command]:
    """The clients of the facility's web services, and their secrets on the way to the nodes that run these."""
    found = []
    for node in context.facility.nodes.values():
        for route in (route for route in node.routes if route.client):
            secret, item = f"{FOLDER}/clients/{route.client}.secret", find_secret(route.client)
            target = f"{OUTBOX}/{node.name}/{item}"
            # a name that begins with a dot is no item
            fresh = f"{OUTBOX}/{node.name}/.{item}"
            found += [
                client(
                    route.client,
                    PAGE,
                    ("authorization_code",),
                    secret,
                    redirect=context.facility.url(route.origin) + route.back,
                ),
                Command(
                    f"secret of client {route.client}",
                    f"find {OUTBOX} -name {item} -delete && install -m 0640 -g farmlet-control {secret} {fresh} && "
                    f"mv {fresh} {target}",
                    f"cmp -s {secret} {target}",
                ),
            ]
    return found


def dashboards(context: Context) -> list[Command]:
    """The client as which a Grafana that the file names logs members in. Its admin fetches the secret."""
    named = getattr(context.facility.parts.get("monitoring"), "grafana", None)
    if named is None or not named.url or not context.facility.has("monitoring.store"):
        return []
    secret, scopes = f"{FOLDER}/clients/grafana.secret", (*PAGE, "email")
    return [client("grafana", scopes, ("authorization_code",), secret, redirect=named.back, trusted=False)]


def find_ahead(context: Context) -> int:
    """Seconds for which a new signing key is published before it signs: longer than any element goes by those it has."""
    kept = max((one.keeps_keys for one in context.trust.elements.values()), default=0)
    return max(HOUR, kept + min(kept, HOUR))


def configuration(context: Context) -> dict[str, object]:
    """What the service reads at its start; see `service.configuration`."""
    facility, section = context.facility, context.section("identity")
    return {
        "issuer": facility.issuer,
        "title": facility.title or facility.name,
        "database": section.database if section.database != "sqlite" else f"{FOLDER}/db.sqlite3",
        "passfile": PASSFILE,
        "audit": AUDIT_LOG,
        "keys": f"{FOLDER}/keys",
        "secret_key_file": SECRET_KEY,
        "rights": facility.rights.to_json(),
        "lifetimes": {"access": HOUR, "refresh": 30 * 86400, "published": find_ahead(context)},
        "device_interval": 2,  # seconds between a device's questions (RFC 8628 §3.5)
        "registration": section.registration,
        "registered_logins": section.registered_logins,
        "elements": context.elements,
        "logins": context.logins,
        "uid_base": section.first_uid,
        "gid_base": section.first_gid,
        "seen": SEEN,
    }


def configure_provider(context: Context) -> Sequence[Resource]:
    return (
        Account(USER),
        Directory(AUDIT, 0o700),
        Directory(FOLDER, 0o700, USER, USER),
        Directory(f"{FOLDER}/keys", 0o700, USER, USER),
        Directory(f"{FOLDER}/clients", 0o700, USER, USER),
        Random(SECRET_KEY, mode=0o600, owner=USER, group=USER),
        Farmlet(units.SERVICE, context.wheel),
        File.of_json(CONFIG, configuration(context)),
        Command("identity database", f"{PROGRAM} migrate", user=USER),
        Command("identity signing keys", f"{PROGRAM} keys ensure", user=USER),
        Command("identity groups", f"{PROGRAM} groups ensure", user=USER),
        # what opens a log-in is named for those who may ask for it, or nobody has it
        client("farmlet", PERSON, DEVICE, audiences=(ANY, *context.logins)),
        *mccli(context),
        # what jobs carry opens storage, never a log-in
        client("batch", (*PERSON[3:],), DEVICE, audiences=(ANY, *context.elements)),
        client("accounts", ("scim:read",), ("client_credentials",), f"{FOLDER}/clients/accounts.secret", (ANY,)),
        # the check of storage: a corner of its own on each element, which is nobody else's business
        client("storage", PROBES, ("client_credentials",), f"{FOLDER}/clients/storage.secret", context.elements or [ANY]),
        *tests_of_sites(context),
        *pages(context),
        *dashboards(context),
        *WEB.files,
        *PEOPLE.files,
        *WEB.units,
        *PEOPLE.units,
        UPKEEP.file,
        TIMER.file,
        TIMER.unit,
    )


def check_provider(context: Context) -> Sequence[Check]:
    return (
        Check.of_unit("identity.provider.unit", f"{WEB.name}.service"),
        Check.of_unit("identity.provider.people", f"{PEOPLE.name}.service"),
        Check(
            "identity.provider.audit",
            f"{PACKAGE}.checks:check_audit",
            {"path": AUDIT_LOG, "checkpoint": f"{AUDIT}/identity.json"},
        ),
        Check("identity.provider.keys", f"{PACKAGE}.checks:check_keys", {"folder": f"{FOLDER}/keys"}),
        Check("identity.provider.issuer", f"{PACKAGE}.checks:check_issuer", {"issuer": f"https://{context.node.fqdn}"}),
    )


def find_issuer(section: Section) -> Issuer | None:
    """The INDIGO IAM that keeps the members instead."""
    return None if section.issuer == "builtin" else Issuer(section.issuer, section.group_prefix)


PART = Part(
    name="identity",
    summary="members, groups and the facility's tokens",
    section=Section,
    needs=("base",),
    decides=1,
    issuer=find_issuer,
    roles=(
        Role(
            "provider",
            "control",
            configure_provider,
            lambda: (Packages(("python3-venv",)),),
            check_provider,
            metrics=lambda context: (Metric("identity.activity", f"{PACKAGE}.metrics:count_activity", {"path": AUDIT_LOG}),),
            routes=(Route(WEB.socket, default=True), Route(PEOPLE.socket, ("/login/*", "/join/*"))),
            data=(FOLDER, AUDIT),
            # a database that is not SQLite is its own admin's to save
            backup=keep_database(f"{FOLDER}/db.sqlite3", FOLDER, AUDIT, SECRET_KEY),
        ),
    ),
)
