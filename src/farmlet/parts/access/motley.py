"""Role `motley` of part `access`: motley-cue on the log-in nodes, for `mccli` and every other client of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files

from farmlet.facility.model import Facility, Node, Route
from farmlet.facility.places import CA, SSH, SYSTEM_CA
from farmlet.parts import units
from farmlet.parts.access import PACKAGE
from farmlet.parts.compiled import Plugin
from farmlet.parts.part import Check, Context
from farmlet.parts.render import render
from farmlet.parts.resources import Account, Directory, Environment, Farmlet, File, Packages, Resource, Unit

USER = "farmlet-motley"
ENVIRONMENT = "/opt/farmlet/motley"
CONFIG = "/etc/farmlet/motley"
CLIENTS = f"{CONFIG}/clients.json"  # at an external issuer: whose tokens count
RUN = f"/run/{USER}"
# -I: nothing of the environment, or of the folder it is started in, is run
PROGRAM = f"{units.NODE}/bin/python -I -m farmlet.parts.access.pam"
# it asks for the token: no distribution has such a module, and pam_exec cuts tokens off
MODULE = Plugin(
    what="PAM module for access tokens",
    package=PACKAGE,
    source="pam_token.c",
    compiler="gcc -D_GNU_SOURCE",
    packages=("gcc", "libc6-dev", "libpam0g-dev"),
    libraries="-lpam",
)


# what mccli asks of motley-cue; the rest of it (verify_user, administration) is not for others
ASKED = ("/", "/info", "/info/*", "/user", "/user/deploy", "/user/generate_otp", "/user/get_status", "/user/status")
ROUTE = Route("motley", (*ASKED, "/api", "/api/", *(f"/api{path}" for path in ASKED[1:])))


def is_on(facility: Facility, node: Node) -> bool:
    """Whether members come in by token on this node. feudalAdapter knows no StartTLS, and no directory without TLS is asked."""
    existing = getattr(facility.parts["accounts"], "ldap", None)
    wanted = getattr(facility.parts["access"], "motley", False)
    return "access.motley" in node.roles and wanted and not (existing and existing.starts)


def name_audience(node: Node) -> str:
    """The audience of this node's tokens: what one node is shown opens no other."""
    return f"{SSH}_{node.fqdn}"


def name_logins(facility: Facility, node: Node) -> dict[str, str]:
    """The same as the page of consent has it."""
    return {name_audience(node): f"log in by SSH as you at {node.fqdn}"} if is_on(facility, node) else {}


def install_motley() -> Sequence[Resource]:
    requirements = (files("farmlet.parts") / "requirements" / "motley.txt").read_text()
    return (
        Packages(("python3-venv", "python3-bonsai", "python3-ldap")),
        MODULE.install,
        Environment(ENVIRONMENT, requirements, system=True),
    )


def find_directory(context: Context) -> dict[str, object]:
    """Where the accounts are: "host", "port", "people", "groups", and "ca", the file of who vouches for the server."""
    existing, facility = context.section("accounts").ldap, context.facility
    if existing:
        ca = "/etc/farmlet/ldap-ca.pem" if existing.ca else SYSTEM_CA
        place = {"people": existing.people, "groups": existing.groups}
        return {"host": existing.host, "port": existing.port, **place, "ca": ca}
    base = ",".join(f"dc={label}" for label in facility.domain.split("."))
    place = {"people": f"ou=people,{base}", "groups": f"ou=groups,{base}"}
    return {"host": facility.host("accounts.directory").fqdn, "port": 636, **place, "ca": CA}


def serve(context: Context) -> units.Web:
    wanted = [context.facility.issuer, name_audience(context.node), str(find_directory(context)["ca"])]
    wanted += [CLIENTS] if context.login_clients is not None else []
    arguments = ", ".join(f'"{value}"' for value in wanted)
    return units.Web(
        name=USER,
        socket="motley",
        description="motley-cue for Farmlet",
        user=USER,
        app=f"farmlet.parts.access.motley_cue:load({arguments})",
        venv=ENVIRONMENT,
        # a request waits for the issuer and the directory, and keeps its worker to itself
        # and it tells others the address by which the reverse proxy, which alone comes in here, was reached
        workers="--workers 2 --worker-class uvicorn_worker.UvicornWorker --forwarded-allow-ips=*",
        runtime=USER,
        environment={
            "MOTLEY_CUE_CONFIG": f"{CONFIG}/motley_cue.conf",
            "FEUDAL_ADAPTER_CONFIG": f"{CONFIG}/feudal_adapter.conf",
            "FLAAT_CONFIG": f"{CONFIG}/flaat.conf",
            "REQUESTS_CA_BUNDLE": SYSTEM_CA,
        },
    )


def configure_motley(context: Context) -> Sequence[Resource]:
    web, on = serve(context), is_on(context.facility, context.node)
    values = {
        "issuer": context.facility.issuer,
        "audience": name_audience(context.node),
        "host": context.node.fqdn,
        "run": RUN,
        "directory": find_directory(context),
    }
    # flaat compares without the slash that an INDIGO IAM's name ends with
    flaat = values | {"issuer": context.facility.issuer.rstrip("/")}
    return (
        *MODULE.compiled,
        Account(USER),
        Directory(CONFIG),
        File(f"{CONFIG}/motley_cue.conf", render(PACKAGE, "motley_cue.conf", **values)),
        File(f"{CONFIG}/feudal_adapter.conf", render(PACKAGE, "feudal_adapter.conf", **values)),
        File(f"{CONFIG}/flaat.conf", render(PACKAGE, "flaat.conf", **flaat)),
        *([File.of_json(CLIENTS, context.login_clients)] if context.login_clients is not None else []),
        Farmlet(ENVIRONMENT, context.wheel),
        *web.files,
        *(replace(unit, running=on) for unit in web.units if isinstance(unit, Unit)),
    )


def check_motley(context: Context) -> Sequence[Check]:
    if not is_on(context.facility, context.node):
        return ()
    asked = {"host": context.node.fqdn, "issuer": context.facility.issuer, "audience": name_audience(context.node)}
    return (
        Check.of_unit("access.motley.unit", f"{USER}.service"),
        Check("access.motley.module", "farmlet.runtime.checks:check_file", {"path": MODULE.path}),
        Check("access.motley.web", f"{PACKAGE}.checks:check_motley", {**asked, "ca": CA}),
    )
