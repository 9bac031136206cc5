"""What the control node has for a Grafana, somebody's or the one it runs itself: the program that fills it, and the words by
which members log in to it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from farmlet.facility.model import Facility
from farmlet.parts import units
from farmlet.parts.monitoring.config import Grafana
from farmlet.parts.part import Check, Context
from farmlet.parts.render import render
from farmlet.parts.resources import Account, Command, Directory, File, Resource

PACKAGE = "farmlet.parts.monitoring"
NAME = "farmlet-grafana"
CONFIG, INI = "/etc/farmlet/grafana.json", "/etc/farmlet/grafana.ini"
TOKEN = "/etc/farmlet/grafana.token"  # of our service account there: the admin puts it there
FOLDER = "/var/lib/farmlet/grafana"
STATE = f"{FOLDER}/state.json"
MINUTES = 5
ROLE, ORIGIN = "monitoring.grafana", "grafana"  # of the one that is installed
PASSWORD = "/etc/farmlet/grafana/admin.password"  # of its own admin
PAGE = "openid profile wlcg.groups"  # what our issuer gives the facility's own pages
TIMER = units.Trigger(
    NAME,
    "timer",
    f"Farmlet monitoring: Grafana, every {MINUTES} minutes",
    ("OnActiveSec=1s", f"OnUnitInactiveSec={MINUTES}min", "AccuracySec=1s"),
)
PATH = units.Trigger(NAME, "path", "Farmlet monitoring: a new token for Grafana", (f"PathChanged={TOKEN}",))
PLACE = Command(
    "place for the token of Grafana",
    f"touch {TOKEN} && chown root:root {TOKEN} && chmod 600 {TOKEN}",
    f"test \"$(stat -c '%U:%G %a' {TOKEN} 2>/dev/null)\" = 'root:root 600'",
)


def find(facility: Facility) -> Grafana | None:
    """The one that the file names, or that is installed here; its `url` is that."""
    named: Grafana | None = getattr(facility.parts.get("monitoring"), "grafana", None)
    if facility.has(ROLE):
        return (named or Grafana()).model_copy(update={"url": facility.url(ORIGIN)})
    return named


def find_roles(facility: Facility, named: Grafana) -> dict[str, list[str]]:
    """Groups as tokens name them, by what who is in them is in Grafana; the mightiest first."""
    found: dict[str, list[str]] = {"Admin": [], "Editor": [], "Viewer": []}
    for group in facility.groups:
        above = [role for path, role in named.roles.items() if f"{group}/".startswith(f"{path}/")]
        roles = [*above, *(["Admin"] if facility.rights.common([group]).administer else [])]
        if mightiest := next((role for role in found if role in roles), None):
            found[mightiest].append(facility.claim(group))
    return found


def map_roles(roles: Mapping[str, Sequence[str]]) -> str:
    """Grafana's `role_attribute_path` (JMESPath). Who has no groups at all has none of these; a filter is never an error."""
    tests = {role: " || ".join(f"@ == '{group}'" for group in groups) for role, groups in roles.items() if groups}
    # begins with @, for Grafana's reader of the file takes away a quote that a value begins with
    return " || ".join(f"@.\"wlcg.groups\"[?{test}] && '{role}'" for role, test in tests.items()) or "'None'"


def describe_login(facility: Facility, named: Grafana) -> dict[str, Any]:
    """As Grafana's API calls it (SSO settings)."""
    issuer = facility.issuer.rstrip("/")
    return {
        "clientId": "grafana",
        "authUrl": f"{issuer}/authorize",
        "roleAttributePath": map_roles(find_roles(facility, named)),
        "roleAttributeStrict": True,
    }


def describe(context: Context) -> Mapping[str, Any]:
    """What the program reads; see `program` and `things.list_things`."""
    facility, named = context.facility, require(context.facility)
    found = {
        "url": named.url,
        "facility": facility.name,
        "title": facility.title or facility.name,
        "store": f"{facility.url('monitoring')}/prometheus",
        "ca": context.trust.ca,
        "seconds": context.section("monitoring").scrape_seconds,
        "login": describe_login(facility, named),
    }
    return {**found, "user": "admin"} if facility.has(ROLE) else found


def require(facility: Facility) -> Grafana:
    named = find(facility)
    assert named is not None, "only where there is one"
    return named


def write_login(facility: Facility, secret: str, ca: str, scopes: str) -> str:
    """Grafana's words for the log-in by our issuer. `secret`, `ca`: files on its host."""
    named = require(facility)
    about = {"url": named.url, "name": facility.name, "domain": facility.domain, "issuer": facility.issuer.rstrip("/")}
    files = {"secret": secret, "ca": ca, "scopes": scopes}
    return render(PACKAGE, "grafana.ini", **about, **files, **describe_login(facility, named))


def service(reader: str, token: str) -> units.Service:
    program = f"{units.SERVICE}/bin/python -m {PACKAGE}.grafana.program {CONFIG}"
    return units.Service(
        name=NAME,
        description="Farmlet monitoring: folder, data source and dashboards in Grafana",
        user=NAME,
        command=f"{program} --token %d/token --reader %d/reader --state {STATE}",
        kind="oneshot",
        writable=(FOLDER,),
        credentials={"token": token, "reader": reader},
        install=False,
    )


def configure(context: Context, reader: str) -> Sequence[Resource]:
    """`reader`: the file with the token by which Grafana reads our store."""
    facility = context.facility
    own = facility.has(ROLE)
    words = write_login(facility, "/etc/grafana/farmlet.secret", "/etc/grafana/farmlet-ca.pem", f"{PAGE} email")
    by_hand = (PLACE, File(INI, render(PACKAGE, "grafana-paste.txt", url=require(facility).url) + words))
    path = (PATH.file, PATH.unit)
    return (
        Account(NAME),
        Directory(FOLDER, 0o755, NAME, NAME),
        *(() if own else by_hand),
        File(CONFIG, json.dumps(describe(context), indent=1) + "\n"),
        service(reader, PASSWORD if own else TOKEN).file,
        TIMER.file,
        TIMER.unit,
        *(() if own else path),
    )


def check(facility: Facility) -> Sequence[Check]:
    """One that is somebody else's `up` goes on without, though not without the token that an admin has to give."""
    named, own = require(facility), facility.has(ROLE)
    token, run = "monitoring.store.grafana-token", "monitoring.store.grafana-run"
    by_hand = Check(token, f"{PACKAGE}.checks:check_token", {"path": TOKEN, "url": named.url}, by_hand=True)
    state = {"state": STATE, "config": CONFIG, "token": PASSWORD if own else TOKEN, "seconds": MINUTES * 180}
    needs = () if own else (token,)
    return (
        *(() if own else (by_hand,)),
        Check(run, f"{PACKAGE}.checks:check_run", state, after=needs),
        Check(
            "monitoring.store.grafana",
            f"{PACKAGE}.checks:check_grafana",
            {"state": STATE, "url": named.url},
            external=not own,
            after=(*needs, run),
        ),
    )
