"""The credential monitor, on every access point."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from farmlet.facility.catalog import Issue
from farmlet.facility.model import Facility
from farmlet.facility.places import AUDIENCES, CREDENTIAL, CREDENTIALS, NOTEBOOKS, SESSION_UNIT, SESSIONS
from farmlet.parts import units
from farmlet.parts.part import Check, Context, Leave, Metric, Part, Role
from farmlet.parts.render import render
from farmlet.parts.resources import Command, Directory, Farmlet, File, Resource, Unit
from farmlet.parts.tasks import follow, tell_agent
from farmlet.parts.tokens.config import Tokens
from farmlet.parts.tokens.source import ROTATING
from farmlet.parts.tokens.storer import CONFIG, STORE

PACKAGE = "farmlet.parts.tokens"
PYTHON = f"{units.NODE}/bin/python"
PROGRAM = "/usr/lib/farmlet/credmon"
STORER = "/usr/local/bin/farmlet-credential"  # members call it too
SESSION = "/usr/lib/farmlet/session"
FOLDER = CREDENTIALS


# a notebook begins: the monitor is told to look, as condor_credd does it
NOTEBOOK = units.Trigger("farmlet-notebook-tokens", "path", "Farmlet: a notebook begins", (f"PathModified={NOTEBOOKS}",))
NOTEBOOK_SERVICE = (
    "[Unit]\nDescription=Farmlet: tokens of notebooks\nStartLimitIntervalSec=0\n\n"
    f"[Service]\nType=oneshot\nExecStart=-/bin/sh -c 'kill -HUP \"$(cat {FOLDER}/pid)\"'\n"
)


def configure_credmon(context: Context) -> Sequence[Resource]:
    taking = {"folder": FOLDER, "places": [SESSIONS, NOTEBOOKS], "first_uid": context.section("identity").first_uid}
    config = render(
        PACKAGE,
        "credmon.config",
        folder=FOLDER,
        program=PROGRAM,
        arguments=" ".join(find_arguments(context)),
        storer=STORER,
        keep=context.section("tokens").keep_days * 86400,
    )
    return (
        Directory(FOLDER, 0o2770, "root", "condor"),
        Directory("/usr/lib/farmlet"),
        Farmlet(units.NODE, context.wheel),
        File(PROGRAM, render(PACKAGE, "credmon.sh", python=PYTHON), 0o755),
        File(STORER, render(PACKAGE, "storer.sh", python=PYTHON), 0o755),
        File.of_json(str(CONFIG), describe(context)),
        File("/etc/condor/config.d/50-farmlet-credmon.config", config),
        *configure_sessions(context),
        *configure_notebooks(context),
        # once all of it is there, also for systemd to read
        Unit("condor.service"),
        tell_agent("tokens.credmon", apply=follow(f"{PACKAGE}.deprovisioning:apply", taking)),
        # Debian keeps it where only root looks; members take their credential back with it
        Command("condor_store_cred for members", f"ln -sf {STORE} /usr/local/bin/", "test -x /usr/local/bin/condor_store_cred"),
    )


def find_arguments(context: Context) -> list[str]:
    """The monitor's command line: the facility's issuer comes first, whose tokens the audiences are for."""
    facility = context.facility
    words = [FOLDER, "--jobs", "--sessions", SESSIONS]
    words += ["--sessions", NOTEBOOKS] if "notebooks.hub" in context.node.roles else []
    words += [word for issuer in (facility.issuer, *context.section("tokens").issuers) for word in ("--issuer", issuer)]
    # an external issuer has a policy of its own for audiences
    audiences = () if facility.external else context.elements
    return words + [word for audience in audiences for word in ("--audience", audience)]


def describe(context: Context) -> dict[str, str]:
    """What the members' program asks with; see `storer.Config`."""
    facility = context.facility
    return {
        "service": CREDENTIAL,
        "issuer": facility.issuer,
        "client": context.section("tokens").client if facility.external else "batch",
        "scope": f"wlcg {context.scopes}" if facility.external else context.scopes,
        "places": SESSIONS,
    }


def configure_sessions(context: Context) -> Sequence[Resource]:
    """A token for whoever is logged in or has a workflow.

    user@UID.service comes with the first session and goes after the last one; the guard makes a scope of each workflow. Both want
    the unit that has the token.
    """
    first_uid = context.section("identity").first_uid
    script = render(PACKAGE, "session.sh", first_uid=first_uid, places=SESSIONS, folder=FOLDER, service=CREDENTIAL)
    return (
        File(SESSION, script, 0o755),
        File(f"/etc/systemd/system/{SESSION_UNIT.format(uid='')}", render(PACKAGE, "session-token@.service", program=SESSION)),
        Directory("/etc/systemd/system/user@.service.d"),
        File(
            "/etc/systemd/system/user@.service.d/farmlet-token.conf",
            render(PACKAGE, "session.conf", unit=SESSION_UNIT.format(uid="%i")),
        ),
        File("/etc/security/pam_env.conf", render(PACKAGE, "environment.conf", places=SESSIONS)),
        # before the greeting, which ends with an empty line
        File(
            "/etc/profile.d/farmlet-credential.sh",
            render(PACKAGE, "greeting.sh", places=SESSIONS, command=STORER.rpartition("/")[2]),
        ),
    )


def configure_notebooks(context: Context) -> Sequence[Resource]:
    """A token for whoever has a notebook on this node, as soon as it begins."""
    if "notebooks.hub" not in context.node.roles:
        return ()
    return (
        File(f"/etc/systemd/system/{NOTEBOOK.name}.service", NOTEBOOK_SERVICE),
        NOTEBOOK.file,
        NOTEBOOK.unit,
    )


def check_credmon(context: Context) -> Sequence[Check]:
    running = Check("tokens.credmon", f"{PACKAGE}.checks:check_credmon", {"folder": FOLDER})
    # ours forgives a lost answer
    place = {"path": f"{FOLDER}/{ROTATING}", "issuer": context.facility.issuer}
    rotation = Check("tokens.credmon.rotation", f"{PACKAGE}.checks:check_rotation", place, external=True)
    return (running, rotation) if context.facility.external else (running,)


def validate(facility: Facility) -> Iterator[Issue]:
    """Storage elements that no token can name all: the issuer would refuse every member's."""
    hosts = [node.fqdn for node in facility.hosts("storage.element")]
    hosts += [f"{site.name}.sites.{facility.domain}" for site in facility.sites.values() if site.connect == "container"]
    others = [element.audience for element in getattr(facility.parts.get("storage"), "elements", ())]
    found = dict.fromkeys([*(f"https://{host}:8443" for host in hosts), *others])
    if facility.has("tokens.credmon") and not facility.external and (length := len(" ".join(found))) > AUDIENCES:
        what = f"a token names all {len(found)} storage elements: {length} characters, more than {AUDIENCES}"
        yield ("storage", "elements"), what, "have fewer, or shorter names of hosts"


PART = Part(
    name="tokens",
    summary="access tokens of jobs, kept fresh",
    section=Tokens,
    validate=validate,
    needs=("base", "batch", "identity"),
    roles=(
        Role(
            "credmon",
            "members",
            configure_credmon,
            checks=check_credmon,
            metrics=lambda context: (Metric("tokens.credentials", f"{PACKAGE}.metrics:count_credentials", {"folder": FOLDER}),),
            data=(FOLDER,),
            backup="members consent again: who brings a used refresh token back ends all that came of it",
            with_role="batch.access",
            leave=Leave(),  # what is stored serves the jobs of this access point
            # tokens that look old are renewed at the next pass, within a minute; none is missing meanwhile
            forget=f"find {FOLDER} -name '*.use' -exec touch -d @0 {{}} +",
        ),
    ),
)
