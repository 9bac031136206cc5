"""Whether the Hub answers and has its software. Standard library only."""

from __future__ import annotations

import json
import re
import ssl
import subprocess
import urllib.request
from pathlib import Path

from farmlet.facility.places import NOTEBOOK
from farmlet.parts.notebooks.limits import find_unlimited
from farmlet.runtime.checks import Failed, run

SECONDS = 5
MAKER = "farmlet-notebooks-image.service"
ROOTS = re.compile(r" (/run/farmlet-servers/[0-9]+/root) .* - overlay .*\blowerdir=([^,]+)")  # base.sh mounts them
FREE = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")


def check_hub(url: str) -> str:
    """The Hub answers at its public name."""
    try:
        with urllib.request.urlopen(f"{url}/hub/api", timeout=SECONDS, context=ssl.create_default_context()) as answer:
            version = json.load(answer)["version"]
    except (OSError, ValueError, KeyError) as error:
        raise Failed(f"{url}: {error}") from error
    return f"JupyterHub {version} at {url}"


def check_image(path: str) -> str:
    """Docker has the image that is published now, or it is being made: whoever starts a server waits for it."""
    stamp = Path(path, "etc/farmlet-image")
    if not stamp.is_file():
        raise Failed(f"{path} is not published yet")
    name, digest = stamp.read_text().split()
    image = f"farmlet/{name}:{digest[:12]}"
    done = subprocess.run(["docker", "image", "inspect", image], capture_output=True, timeout=SECONDS, check=False)
    if not done.returncode:
        return image
    state = subprocess.run(["systemctl", "is-active", MAKER], capture_output=True, text=True, timeout=SECONDS, check=False)
    if state.stdout.strip() == "activating":
        return f"{image} is being made"
    raise Failed(f"{image} is not in Docker")


def check_used(spawner: str, mounts: str = "/proc/self/mountinfo") -> str:
    """Which images servers run in now: `NAME-DIGEST` of published ones, digests of registries'. They are kept for that."""
    if spawner == "docker":
        # images of registries Docker has whole
        said = run("docker", "ps", "--filter", f"label={NOTEBOOK}", "--format", "{{.Image}}").split()
        found = {one.removeprefix("farmlet/").replace(":", "-") for one in said}
    else:
        found = {_find_name(*one.groups()) for one in map(ROOTS.search, Path(mounts).read_text().splitlines()) if one}
    return f"in use: {' '.join(sorted(found)) or 'none'}"


def _find_name(root: str, lower: str) -> str:
    """What the image at `lower`, shown as `root`, is called: by its content, for names are given anew."""
    if "/.flat/" in lower:
        return Path(lower).name
    try:
        name, digest = Path(root, "etc/farmlet-image").read_text().split()
    except (OSError, ValueError):
        return "unknown"
    return f"{name}-{digest[:12]}"


def check_ports(ports: list[int]) -> str:
    """Nobody but root takes the ports on loopback behind which log-ins pass, while a service restarts."""
    first = int(FREE.read_text())
    if all(port < first for port in ports):
        return f"ports {', '.join(map(str, ports))} are root's"
    raise Failed(f"net.ipv4.ip_unprivileged_port_start is {first}: members may take ports {', '.join(map(str, ports))}")


def check_limits(unit: str) -> str:
    """The limits of a unit that has some hold, and so do those of servers: on some machines systemd starts it without."""
    group = run("systemctl", "show", "--property=ControlGroup", "--value", unit).strip()
    if not group:
        raise Failed(f"{unit} does not run")
    if lacking := find_unlimited(group):
        words = " and ".join(lacking)
        raise Failed(
            f"systemd limits no {words} of a unit here: servers would take all of the node. `spawner: docker` limits them"
        )
    return "systemd limits memory, cores and processes"
