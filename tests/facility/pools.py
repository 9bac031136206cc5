"""A dCache as a facility meets it: the stand-in of tests/dcache, which goes by the facility's issuer.

It stands on the machine of the stand-in site, whose authority the nodes trust; proxies there lead to this process.
"""

from __future__ import annotations

import json
import ssl
import urllib.request
from pathlib import Path
from typing import Any

from collaboration import CERTIFICATE
from element import find
from sandbox import Sandbox

from dcache import Authority, Dcache
from farmlet.facility.places import ANY
from host import docker

PORTS = (9445, 9446)  # of the door, and of the pool
UNIT = "dcache-proxy-"


def start(sandbox: Sandbox, folder: Path) -> Dcache:
    """A dCache at https://HOST:9445 of the site's machine."""
    machine, host = sandbox.container("tier1"), f"tier1.sites.{sandbox.domain}"
    for ending in ("crt", "key"):
        docker("cp", f"{machine}:{CERTIFICATE}.{ending}", str(folder))
    # what of this machine the site's machine reaches, and nobody outside
    gateway = docker("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.Gateway}}{{end}}", machine)
    issuer = f"https://service.{sandbox.domain}"
    authority = Authority(issuer, (ANY, f"https://{host}:{PORTS[0]}"), lambda: fetch_keys(issuer, sandbox.ca))
    files = {"certificate": folder / f"{Path(CERTIFICATE).name}.crt", "key": folder / f"{Path(CERTIFICATE).name}.key"}
    trusted = Path(find(sandbox)[1].ca)
    made = Dcache(authority, folder / "pool", **files, trusted=trusted, address=gateway, host=host, pool_host=host, ports=PORTS)
    for port in PORTS:
        there = f"--socket-property=ListenStream={port} /usr/lib/systemd/systemd-socket-proxyd {gateway}:{port}"
        docker("exec", machine, "sh", "-c", f"systemd-run --quiet --unit {UNIT}{port} {there}")
    return made


def stop(sandbox: Sandbox, dcache: Dcache) -> None:
    names = " ".join(f"{UNIT}{port}.{kind}" for port in PORTS for kind in ("socket", "service"))
    docker("exec", sandbox.container("tier1"), "sh", "-c", f"systemctl stop {names}; systemctl reset-failed {names}; true")
    dcache.close()


def fetch_keys(issuer: str, ca: str) -> dict[str, Any]:
    context = ssl.create_default_context(cafile=ca)

    def load(url: str) -> dict[str, Any]:
        with urllib.request.urlopen(url, context=context, timeout=60) as answer:
            return dict(json.load(answer))

    return load(str(load(f"{issuer}/.well-known/openid-configuration")["jwks_uri"]))
