"""Part `base`: trust and the agent on every node, the control API on one, a reverse proxy wherever there are web services."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files

from farmlet.facility.model import Node, Route
from farmlet.facility.places import CA, CONTROL, SYSTEM_CA
from farmlet.parts import tasks, units
from farmlet.parts.base.config import Section
from farmlet.parts.part import CERTIFICATE, Check, Context, Part, Role
from farmlet.parts.render import render
from farmlet.parts.resources import Account, Certificate, Command, Directory, Environment, Farmlet, File, Packages, Resource, Unit

PACKAGE = "farmlet.parts.base"
METRICS = "/var/lib/farmlet/metrics"  # numbers of a node, for prometheus-node-exporter
LOCAL_CA = "/usr/local/share/ca-certificates"
CADDY = "/etc/caddy/Caddyfile"
PROXY = "/etc/farmlet/tls/proxy"  # certificate and key of the reverse proxy


def configure_trust(context: Context) -> Sequence[Resource]:
    authorities = {f"farmlet-{name}": text for name, text in context.trust.authorities.items()}
    more = CERTIFICATE.findall(context.section("base").ca)
    authorities |= {f"farmlet-file-{number}": text for number, text in enumerate(more, start=1)}
    keep = " ".join(f"! -name {name}.crt" for name in authorities)
    return (
        # systemd shares mounts at boot; where something took that back, LoadCredential= silently gives nothing
        Command("shared mounts", "mount --make-rshared /", "findmnt -no PROPAGATION / | grep -q shared"),
        Directory("/etc/farmlet"),
        Directory("/etc/farmlet/tls"),
        Directory("/var/lib/farmlet"),
        File(CA, context.trust.ca),
        # one authority a file: update-ca-certificates takes no bundles
        *(File(f"{LOCAL_CA}/{name}.crt", text) for name, text in authorities.items()),
        Command(
            "system trust",
            f"find {LOCAL_CA} -name 'farmlet-*.crt' {keep} -delete && update-ca-certificates --fresh >/dev/null",
        ),
    )


def check_trust(context: Context) -> Sequence[Check]:
    names = [name for node in context.facility.nodes.values() for name in node.names]
    return (
        Check("base.trust.authority", f"{PACKAGE}.checks:check_trust", {"bundle": SYSTEM_CA, "ca": CA}),
        Check("base.trust.names", f"{PACKAGE}.checks:check_names", {"names": names}),
    )


def install_control() -> Sequence[Resource]:
    requirements = (files("farmlet.parts") / "requirements" / "service.txt").read_text()
    # python3-ldap comes from Debian, and the environment sees it
    return (Packages(("python3-venv", "python3-ldap")), Environment(units.SERVICE, requirements, system=True))


ROUTE = Route("control", ("/node/*",), enter="nodes")


def control(context: Context) -> units.Web:
    return units.Web(
        name="farmlet-control",
        socket="control",
        description="Farmlet control API",
        user="farmlet-control",
        app='farmlet.parts.base.control:load("/etc/farmlet/control.json")',
        # each agent holds one request open
        threads=8 + 2 * len(context.facility.nodes),
        writable=(CONTROL,),
    )


def configure_control(context: Context) -> Sequence[Resource]:
    nodes = {node.fqdn: node.name for node in context.facility.nodes.values()}
    folders = [f"{CONTROL}/outbox/all", f"{CONTROL}/results"]
    folders += [f"{CONTROL}/{box}/{name}" for name in sorted(nodes.values()) for box in ("inbox", "outbox")]
    group = "farmlet-control"
    return (
        Account("farmlet-control"),
        Directory(CONTROL, 0o2750, "root", group),
        Directory(f"{CONTROL}/inbox", 0o2750, "root", group),
        Directory(f"{CONTROL}/outbox", 0o2750, "root", group),
        *(Directory(path, 0o2770, "root", group) for path in folders),
        Farmlet(units.SERVICE, context.wheel),
        File.of_json("/etc/farmlet/control.json", {"root": CONTROL, "nodes": nodes}),
        *control(context).files,
        *control(context).units,
    )


def check_control(context: Context) -> Sequence[Check]:
    names = [node.name for node in context.facility.nodes.values()]
    seconds = 3.0 * context.section("base").check_seconds + 15
    return (
        Check.of_unit("base.control.unit", "farmlet-control.service"),
        Check(
            "base.control.agents",
            f"{PACKAGE}.checks:check_results",
            {"folder": f"{CONTROL}/results", "nodes": names, "seconds": seconds},
        ),
    )


RENEWAL = units.Web(
    name="farmlet-renewal",
    socket="renewal",
    description="Farmlet renewal of certificates",
    user="farmlet-renewal",
    app='farmlet.parts.base.authority:load("/etc/farmlet/renewal.json")',
    threads=2,
)


def configure_renewal(context: Context) -> Sequence[Resource]:
    user, folder = RENEWAL.user, "/var/lib/farmlet/renewal"
    certificate, key = f"{folder}/authority.crt", f"{folder}/authority.key"
    revoked = f"{folder}/facility.crl"
    config = {
        "certificate": certificate,
        "key": key,
        "nodes": {node.fqdn: list(node.certified) for node in context.facility.nodes.values()},
        "published": {"facility.pem": CA, "facility.crl": revoked},
    }
    return (
        Account(user),
        Directory(folder, 0o700, user, user),
        File(revoked, context.trust.revoked),
        # its key is made here and stays; the facility's authority, in the state folder, signs it
        Certificate(certificate, key, (context.facility.domain,), owner=user, group=user, signs=True),
        Farmlet(units.SERVICE, context.wheel),
        File.of_json("/etc/farmlet/renewal.json", config),
        *RENEWAL.files,
        *RENEWAL.units,
    )


def check_renewal(context: Context) -> Sequence[Check]:
    authority = {"path": "/var/lib/farmlet/renewal/authority.crt", "days": 60}
    return (
        Check.of_unit("base.renewal.unit", "farmlet-renewal.service"),
        Check("base.renewal.authority", "farmlet.runtime.checks:check_certificate", authority),
    )


@dataclass(frozen=True)
class Origin:
    """A name that the reverse proxy answers to, and its routes there."""

    name: str
    routes: list[Route] = field(default_factory=list)

    @property
    def default(self) -> Route | None:
        return next((route for route in self.routes if route.default), None)

    @property
    def named(self) -> list[tuple[Route, str]]:
        """The routes with paths of their own, each with these, blanks between them; a default route has the home page."""
        taken = {"/"} if self.default else set()
        found = [(route, " ".join(path for path in route.paths if path not in taken)) for route in self.routes]
        return [(route, paths) for route, paths in found if paths]

    @property
    def knows_nodes(self) -> bool:
        """Whether a web service here is for the nodes of the facility only."""
        return any(route.enter == "nodes" for route in self.routes)


def find_origins(node: Node) -> list[Origin]:
    """What the reverse proxy of a node answers to, by name: the node's own, and those of its web services."""
    found = {name: Origin(name) for name in node.names}
    for route in node.routes:
        found[f"{route.origin}.{node.fqdn.partition('.')[2]}" if route.origin else node.fqdn].routes.append(route)
    return list(found.values())


def configure_proxy(context: Context) -> Sequence[Resource]:
    certificate, key = f"{PROXY}.crt", f"{PROXY}.key"
    text = render(
        PACKAGE,
        "Caddyfile",
        origins=find_origins(context.node),
        certificate=certificate,
        key=key,
        ca=CA,
        sockets=units.SOCKETS,
        idle=units.IDLE_SECONDS // 2,
        nodes=[node.fqdn for node in context.facility.nodes.values()],
    )
    dropin = (
        "[Service]\nRuntimeDirectory=caddy\nRuntimeDirectoryMode=0750\nExecReload=\n"
        f"ExecReload=/usr/bin/caddy reload --config {CADDY} --address unix//run/caddy/admin.sock --force\n"
        "Restart=always\nRestartSec=2\nNoNewPrivileges=yes\nCapabilityBoundingSet=CAP_NET_BIND_SERVICE\n"
        "ProtectHome=yes\nPrivateDevices=yes\nProtectKernelTunables=yes\nProtectKernelModules=yes\nProtectControlGroups=yes\n"
    )
    return (
        Directory("/etc/systemd/system/caddy.service.d"),
        File("/etc/systemd/system/caddy.service.d/farmlet.conf", dropin),
        Certificate(
            certificate,
            key,
            context.node.certified,
            group="caddy",
            mode=0o640,
            reload=("systemctl", "try-reload-or-restart", "caddy.service"),
        ),
        File(CADDY, text),
        Unit("caddy.service"),
    )


def check_proxy(context: Context) -> Sequence[Check]:
    found = (
        Check.of_unit("base.proxy.unit", "caddy.service"),
        Check("base.proxy.certificate", "farmlet.runtime.checks:check_certificate", {"path": f"{PROXY}.crt"}),
    )
    if "base.control" not in context.node.roles:
        return found
    return (*found, Check("base.proxy.strangers", f"{PACKAGE}.checks:check_stranger", {"host": context.node.fqdn, "ca": CA}))


def install_agent() -> Sequence[Resource]:
    return (Packages(("python3", "python3-venv")), Environment(units.NODE, ""))


def configure_agent(context: Context) -> Sequence[Resource]:
    config = {
        "control": context.facility.public_url,
        "ca": CA,
        "certificate": "/etc/farmlet/tls/node.crt",
        "key": "/etc/farmlet/tls/node.key",
        "tasks": tasks.FOLDER,
        "state": "/var/lib/farmlet/agent",
        "metrics": METRICS,
        "every": context.section("base").check_seconds,
    }
    return (
        Directory(tasks.FOLDER),
        Directory("/var/lib/farmlet/agent", 0o700),
        Directory(METRICS),
        Farmlet(units.NODE, context.wheel),
        # its only name is the node's own: the facility's authority may not vouch for anything outside the domain
        Certificate(config["certificate"], config["key"], (context.node.fqdn,), client=True),
        File.of_json("/etc/farmlet/agent.json", config),
        File("/etc/systemd/system/farmlet-agent.service", render(PACKAGE, "agent.service", python=f"{units.NODE}/bin/python")),
        Unit("farmlet-agent.service"),
    )


def check_agent(context: Context) -> Sequence[Check]:
    return (
        Check.of_unit("base.agent.unit", "farmlet-agent.service"),
        Check("base.agent.certificate", "farmlet.runtime.checks:check_certificate", {"path": "/etc/farmlet/tls/node.crt"}),
        Check("base.agent.control", f"{PACKAGE}.checks:check_control", {"config": "/etc/farmlet/agent.json"}),
    )


PART = Part(
    name="base",
    summary="names, trust and the node agent; the control API and the reverse proxy",
    section=Section,
    implicit=True,
    roles=(
        Role("trust", "every", configure_trust, lambda: (Packages(("ca-certificates", "openssl")),), check_trust),
        Role(
            "control",
            "control",
            configure_control,
            install_control,
            check_control,
            data=(CONTROL,),
            routes=(ROUTE,),
            backup="agents and daemons fill it again when they start",
        ),
        Role(
            "renewal",
            "control",
            configure_renewal,
            checks=check_renewal,
            # some ask for the list of what an authority has revoked before they believe it
            routes=(Route("renewal", ("/renewal/*",), enter="nodes"), Route("renewal", ("/authority/*",))),
        ),
        Role("proxy", "routes", configure_proxy, lambda: (Packages(("caddy",)),), check_proxy, ports=(443,)),
        Role("agent", "every", configure_agent, install_agent, check_agent),
    ),
)
