"""Part `base`: trust and the agent on every node, hub and front door on the control node."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files

from farmlet.parts import units
from farmlet.parts.base.config import Section
from farmlet.parts.part import Check, Context, Part, Role
from farmlet.parts.render import render
from farmlet.parts.resources import (
    Account,
    Certificate,
    Command,
    Directory,
    Environment,
    Farmlet,
    File,
    Packages,
    Resource,
    Unit,
)

PACKAGE = "farmlet.parts.base"
CA = "/etc/farmlet/ca.pem"
HUB = "/var/lib/farmlet/hub"
LOCAL_CA = "/usr/local/share/ca-certificates"
CADDY = "/etc/caddy/Caddyfile"
# what mccli asks of motley-cue; the rest of it (verify_user, administration) is not for others
MOTLEY = ("/", "/info", "/info/*", "/user", "/user/deploy", "/user/generate_otp", "/user/get_status", "/user/status")
# a role, its socket below units.SOCKETS, the paths at which it answers on a node that has it
ROUTES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("access.authority", "ssh", ("/ssh/*",)),
    ("access.motley", "motley", (*MOTLEY, "/api", "/api/", *(f"/api{path}" for path in MOTLEY[1:]))),
)
DEFAULT = ("identity.provider", "identity")  # has all other paths, and the home page


def install_trust() -> Sequence[Resource]:
    return (Packages(("ca-certificates", "openssl")),)


def configure_trust(context: Context) -> Sequence[Resource]:
    authorities = {f"farmlet-{name}": text for name, text in context.trust.authorities.items()}
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
    names = [node.fqdn for node in context.facility.nodes.values()]
    bundle = "/etc/ssl/certs/ca-certificates.crt"
    return (
        Check("base.trust.authority", f"{PACKAGE}.checks:check_trust", {"bundle": bundle, "ca": CA}),
        Check("base.trust.names", f"{PACKAGE}.checks:check_names", {"names": names}),
    )


def install_hub() -> Sequence[Resource]:
    requirements = (files("farmlet.parts") / "requirements" / "service.txt").read_text()
    # python3-ldap comes from Debian, and the environment sees it
    return (Packages(("python3-venv", "python3-ldap")), Environment(units.SERVICE, requirements, system=True))


def hub(context: Context) -> units.Web:
    return units.Web(
        name="farmlet-hub",
        socket="hub",
        description="Farmlet hub",
        user="farmlet-hub",
        app='farmlet.parts.base.hub:load("/etc/farmlet/hub.json")',
        # each agent holds one request open
        threads=8 + 2 * len(context.facility.nodes),
        writable=(HUB,),
    )


def configure_hub(context: Context) -> Sequence[Resource]:
    nodes = {node.fqdn: node.name for node in context.facility.nodes.values()}
    folders = [f"{HUB}/outbox/all", f"{HUB}/results"]
    folders += [f"{HUB}/{box}/{name}" for name in sorted(nodes.values()) for box in ("inbox", "outbox")]
    group = "farmlet-hub"
    return (
        Account("farmlet-hub"),
        Directory(HUB, 0o2750, "root", group),
        Directory(f"{HUB}/inbox", 0o2750, "root", group),
        Directory(f"{HUB}/outbox", 0o2750, "root", group),
        *(Directory(path, 0o2770, "root", group) for path in folders),
        Farmlet(units.SERVICE, context.wheel),
        File("/etc/farmlet/hub.json", json.dumps({"root": HUB, "nodes": nodes}, indent=1, sort_keys=True) + "\n"),
        *hub(context).files,
        *hub(context).units,
    )


def check_hub(context: Context) -> Sequence[Check]:
    names = [node.name for node in context.facility.nodes.values()]
    seconds = 3.0 * context.section("base").check_seconds + 15
    return (
        Check("base.hub.unit", "farmlet.runtime.checks:check_unit", {"unit": "farmlet-hub.service"}),
        Check(
            "base.hub.agents", f"{PACKAGE}.checks:check_results", {"folder": f"{HUB}/results", "nodes": names, "seconds": seconds}
        ),
    )


def install_front() -> Sequence[Resource]:
    return (Packages(("caddy",)),)


def find_routes(roles: Sequence[str]) -> list[tuple[str, str]]:
    """(socket, paths with blanks between them) for a node with these roles."""
    taken = {"/"} if DEFAULT[0] in roles else set()
    return [(socket, " ".join(path for path in paths if path not in taken)) for role, socket, paths in ROUTES if role in roles]


def configure_front(context: Context) -> Sequence[Resource]:
    facility, roles = context.facility, context.node.roles
    certificate, key = "/etc/farmlet/tls/front.crt", "/etc/farmlet/tls/front.key"
    text = render(
        PACKAGE,
        "Caddyfile",
        host=context.node.fqdn,
        certificate=certificate,
        key=key,
        ca=CA,
        sockets=units.SOCKETS,
        idle=units.IDLE_SECONDS // 2,
        nodes=[node.fqdn for node in facility.nodes.values()] if "base.hub" in roles else [],
        routes=find_routes(roles),
        default=DEFAULT[1] if DEFAULT[0] in roles else "",
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
        Certificate(certificate, key, (context.node.fqdn,), group="caddy", mode=0o640),
        File(CADDY, text),
        Unit("caddy.service"),
    )


def check_front(context: Context) -> Sequence[Check]:
    return (
        Check("base.front.unit", "farmlet.runtime.checks:check_unit", {"unit": "caddy.service"}),
        Check("base.front.certificate", "farmlet.runtime.checks:check_certificate", {"path": "/etc/farmlet/tls/front.crt"}),
        Check("base.front.strangers", f"{PACKAGE}.checks:check_stranger", {"host": context.node.fqdn, "ca": CA}),
    )


def configure_door(context: Context) -> Sequence[Resource]:
    """The front door of a log-in node, unless that is the control node, whose door has its paths too."""
    return () if "base.front" in context.node.roles else configure_front(context)


def check_door(context: Context) -> Sequence[Check]:
    return () if "base.front" in context.node.roles else check_front(context)[:2]


def install_agent() -> Sequence[Resource]:
    return (Packages(("python3", "python3-venv")), Environment(units.NODE, ""))


def configure_agent(context: Context) -> Sequence[Resource]:
    config = {
        "hub": context.facility.door,
        "ca": CA,
        "certificate": "/etc/farmlet/tls/node.crt",
        "key": "/etc/farmlet/tls/node.key",
        "duties": "/etc/farmlet/agent.d",
        "state": "/var/lib/farmlet/agent",
        "every": context.section("base").check_seconds,
    }
    return (
        Directory("/etc/farmlet/agent.d"),
        Directory("/var/lib/farmlet/agent", 0o700),
        Farmlet(units.NODE, context.wheel),
        # its only name is the node's own: the facility's authority may not vouch for anything outside the domain
        Certificate(config["certificate"], config["key"], (context.node.fqdn,), client=True),
        File("/etc/farmlet/agent.json", json.dumps(config, indent=1, sort_keys=True) + "\n"),
        File("/etc/systemd/system/farmlet-agent.service", render(PACKAGE, "agent.service", python=f"{units.NODE}/bin/python")),
        Unit("farmlet-agent.service"),
    )


def check_agent(context: Context) -> Sequence[Check]:
    return (
        Check("base.agent.unit", "farmlet.runtime.checks:check_unit", {"unit": "farmlet-agent.service"}),
        Check("base.agent.certificate", "farmlet.runtime.checks:check_certificate", {"path": "/etc/farmlet/tls/node.crt"}),
        Check("base.agent.hub", f"{PACKAGE}.checks:check_hub", {"config": "/etc/farmlet/agent.json"}),
    )


PART = Part(
    name="base",
    summary="names, trust and the node agent; the hub and the front door",
    section=Section,
    roles=(
        Role("trust", "every", configure_trust, install_trust, check_trust),
        Role("hub", "control", configure_hub, install_hub, check_hub, data=(HUB,)),
        Role("front", "control", configure_front, install_front, check_front, ports=(443,)),
        Role("door", "members", configure_door, install_front, check_door, ports=(443,), with_role="access.login"),
        Role("agent", "every", configure_agent, install_agent, check_agent),
    ),
)
