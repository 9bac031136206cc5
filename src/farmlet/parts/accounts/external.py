"""What must hold of an issuer that is not ours, an INDIGO IAM, which keeps the members."""

from __future__ import annotations

from collections.abc import Sequence

from farmlet.facility.model import Facility, Route
from farmlet.parts import units
from farmlet.parts.accounts import PACKAGE
from farmlet.parts.accounts.source.record import FOLDER
from farmlet.parts.part import Check, Context
from farmlet.parts.resources import Resource
from farmlet.runtime.issuer.logins import ANY

USER = "farmlet-accounts"
PLACE = "/etc/farmlet/issuer-client.secret"  # of our client there: the admin puts it there

# nodes ask there who may log in still; with our own issuer, which tells of a change by itself, nobody does
ROUTE = Route("accounts", ("/accounts/*",), enter="nodes")
TOLD = f"{FOLDER}/logins"


def tell_asking(facility: Facility) -> dict[str, object]:
    """What `asking` needs besides what the daemon does."""
    return {"nodes": [node.fqdn for node in facility.nodes.values()], "told": TOLD}


def ask(config: str) -> Sequence[Resource]:
    """The service that is asked; `config` is the daemon's file."""
    web = units.Web(
        name="farmlet-asking",
        socket=ROUTE.socket,
        description="Farmlet accounts: who may log in still",
        user=USER,
        app=f'farmlet.parts.accounts.asking:load("{config}")',
        writable=(FOLDER,),
    )
    return (*web.files, *web.units)


def check_external(context: Context) -> Sequence[Check]:
    """An issuer that is not ours is outside: `up` goes on without it, though not without what an admin has to give for it."""
    issuer, client, outside = context.facility.issuer, context.section("identity").client, f"{PACKAGE}.outside"
    secret = {"path": PLACE, "user": USER, "client": client, "issuer": issuer}
    reader = {"issuer": issuer, "client": client, "secret": PLACE}
    record = {"path": f"{FOLDER}/members.json", "seconds": 180}
    clients = {"issuer": issuer, "clients": list_clients(context)}
    away = "accounts.daemon.answers"
    return (
        Check.of_unit("accounts.daemon.asking", "farmlet-asking.service"),
        Check("accounts.daemon.secret", f"{PACKAGE}.checks:check_secret", secret, by_hand=True),
        Check(away, f"{outside}:check_issuer", {"issuer": issuer}, external=True),
        Check("accounts.daemon.reader", f"{outside}:check_reader", reader, after=("accounts.daemon.secret", away), seconds=40),
        Check("accounts.daemon.issuer", f"{PACKAGE}.checks:check_record", record, after=after_members(context)),
        Check("accounts.daemon.clients", f"{outside}:check_clients", clients, external=True, after=(away,), seconds=50),
    )


def list_clients(context: Context) -> list[dict[str, str]]:
    """The public clients at the issuer, and what they are asked for; see `outside.check_clients`."""
    facility, found = context.facility, list[dict[str, str]]()
    if "access" in facility.parts:
        access = context.section("access")
        found = [{"id": access.client, "use": "farmlet login", "scope": f"openid offline_access {context.scopes}"}]
        others = [name for name in context.login_clients or () if name not in (access.client, ANY)]
        found += [{"id": name, "use": "login_clients"} for name in others]
    if facility.has("tokens.credmon"):
        found.append({"id": context.section("tokens").client, "use": "jobs", "scope": f"offline_access wlcg {context.scopes}"})
    return found


def after_members(context: Context) -> tuple[str, ...]:
    """The check before all that needs the members of an external issuer, who may not have been read yet."""
    return ("accounts.daemon.reader",) if context.facility.external else ()
