"""What of the part depends on what runs the servers: `spawner` of the facility file."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network

from farmlet.facility import places
from farmlet.parts import units
from farmlet.parts.part import Check
from farmlet.parts.render import render
from farmlet.parts.resources import Command, Directory, File, Resource, Unit

PACKAGE = "farmlet.parts.notebooks"
NETWORKS = {"docker": "farmlet", "systemd": "198.18.0.0/20"}  # Docker's name; what is routed nowhere (RFC 2544)
GATEWAY = str(ip_network(NETWORKS["systemd"])[1])
BRIDGE = "farmlet1"
NETWORK, BASE = "/usr/lib/farmlet/notebook-network", "/usr/lib/farmlet/notebook-base"
UNITS = "/etc/systemd/system"
CONFINED = f"{UNITS}/{places.SERVER}.service.d"
NAMES = "farmlet-notebook-names"
RUNNING = f"systemctl list-units --plain --no-legend '{places.SERVER}*.service'"
# those of the other spawner go when the file changes
NO_UNITS = Command("no units of notebooks", f"systemctl stop '{places.SERVER}*.service'", f'[ -z "$({RUNNING})" ]')
NO_CONTAINERS = Command(
    "no containers of notebooks",
    f"docker ps --all --quiet --filter label={places.NOTEBOOK} | xargs -r docker rm --force",
    "! systemctl -q is-active docker.service",
)


def list_systemd(hub: str, state: str, inside: str, user: str) -> Iterator[Resource]:
    """What runs servers as units. `hub`: its Python environment; `state`: its folder; `inside`: what servers have of ours."""
    words = {
        "network": NETWORKS["systemd"],
        "gateway": GATEWAY,
        "bridge": BRIDGE,
        "folder": "/run/farmlet-servers",
        "state": state,
    }
    names = {"user": user, "program": f"{hub}/bin/python -I -m {PACKAGE}.names", "hardening": units.HARDENING.strip()}
    listen = (f"ListenDatagram={GATEWAY}:53", "FreeBind=yes")
    yield NO_CONTAINERS
    yield File(NETWORK, render(PACKAGE, "bridge.sh", **words), 0o755)
    yield File(BASE, render(PACKAGE, "base.sh", **words), 0o755)
    yield File(f"{UNITS}/farmlet-notebook-base@.service", render(PACKAGE, "farmlet-notebook-base@.service", program=BASE))
    yield Directory(CONFINED)
    yield File(f"{CONFINED}/farmlet.conf", render(PACKAGE, "server.conf"))
    yield File(f"{inside}/resolv.conf", f"nameserver {GATEWAY}\n")
    yield File(f"{inside}/hosts", "127.0.0.1 localhost\n::1 localhost\n")
    yield units.Trigger(NAMES, "socket", "Farmlet notebooks: names for servers", listen).file
    yield File(f"{UNITS}/{NAMES}.service", render(PACKAGE, f"{NAMES}.service", **names))
    yield from (Unit(name, running=False) for name in ("docker.socket", "docker.service", "containerd.service"))
    yield Unit(f"{NAMES}.socket")
    yield Unit(f"{NAMES}.service")


def list_checks(spawner: str, image: str) -> tuple[Check, ...]:
    if spawner == "docker":
        return (
            Check.of_unit("notebooks.docker", "docker.service"),
            Check("notebooks.image", f"{PACKAGE}.checks:check_image", {"path": image}),
        )
    names = f"{NAMES}.service"
    return (Check.of_unit("notebooks.names", names), Check("notebooks.limits", f"{PACKAGE}.checks:check_limits", {"unit": names}))
