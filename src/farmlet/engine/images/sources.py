"""Where packages come from: read from this host's own apt, pip and npm configuration, or from the facility file's `sources`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from farmlet.engine.apply import Sources
from farmlet.errors import InputError
from farmlet.facility.model import Sources as Named

DEBIAN_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
PIP_VARIABLES = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_DEFAULT_TIMEOUT", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
NPM = "npm_config_registry"
BUNDLE_VARIABLES = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


def find(named: Named) -> Sources:
    """All that nodes are told: what the facility file names, else what this host is configured for."""
    found = python(named.pip, named.ca)
    return replace(found, environment={**found.environment, **npm(named.npm)})


def python(index: str | None = None, bundle: str | None = None) -> Sources:
    """pip's settings for nodes; `index` and `bundle` (a path) are the facility file's, else this host's are taken."""
    environment = {name: os.environ[name] for name in PIP_VARIABLES if os.environ.get(name)}
    for name, value in _pip_config().items():
        variable = f"PIP_{name.upper().replace('-', '_')}"
        # only web addresses mean anything on another machine
        if variable in PIP_VARIABLES and "file:" not in value:
            environment.setdefault(variable, value)
    if index:
        environment["PIP_INDEX_URL"] = _open(index, "sources.pip")
    path = _bundle(bundle)
    return Sources(environment, path.read_bytes() if path else b"")


def npm(registry: str | None = None) -> dict[str, str]:
    """npm's settings for nodes; `registry` is the facility file's, else this host's is taken, and npm's own if it has none.
    What npm shows to a registry that asks who comes stays here."""
    if registry:
        return {NPM: _open(registry, "sources.npm")}
    found = os.environ.get(NPM) or os.environ.get(NPM.upper()) or _ask("npm", "config", "get", "registry").strip()
    return {NPM: found} if found.startswith("http") else {}


def _ask(*command: str) -> str:
    """What a program of this host says; "" where it is not installed."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        return ""


def _bundle(named: str | None) -> Path | None:
    """The CA bundle a node needs to reach the package sources: this host's, since the host may carry an authority of its own."""
    if named:
        if not Path(named).is_file():
            raise InputError("sources.ca", f"{named} is not a file", "name a PEM bundle, or leave it out")
        return Path(named)
    for variable in BUNDLE_VARIABLES:
        value = os.environ.get(variable) or ""
        if value and Path(value).is_file():
            return Path(value)
    configured = _pip_config().get("cert", "")
    if configured and Path(configured).is_file():
        return Path(configured)
    return DEBIAN_BUNDLE if DEBIAN_BUNDLE.is_file() else None


def _pip_config() -> dict[str, str]:
    lines = _ask(sys.executable, "-m", "pip", "config", "list").splitlines()
    pairs = [line.split("=", 1) for line in lines if line.startswith(("global.", "install.")) and "=" in line]
    return {name.split(".", 1)[1]: value.strip("'\"") for name, value in pairs}


def debian(suite: str, mirror: str | None = None) -> list[str]:
    """sources.list lines of Debian `suite`: from `mirror`, or the mirrors of this host's apt; empty: mmdebstrap's default."""
    if mirror:
        return [f"deb {_open(mirror, 'sources.apt')} {suite} main"]
    found = _apt_mirrors()
    return [f"deb {_open(address, 'apt')} {suite}{ending} main" for ending, address in found.items()] if "" in found else []


def _open(url: str, where: str) -> str:
    """The same address; InputError when it holds a password, which would end up in images and process lists."""
    if urlsplit(url).password:
        host = urlsplit(url).hostname
        raise InputError(where, f"the address of {host} holds a password", "use a mirror that asks for none, or a proxy")
    return url


def _apt_mirrors() -> dict[str, str]:
    """The addresses of this Debian host's archives by the ending of the suite: "", "-updates", "-security"."""
    release = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    suite = release.get("VERSION_CODENAME", "").strip('"')
    text = _ask("apt-get", "update", "--print-uris")
    found = re.findall(rf"^'(\S+?)/?/dists/{re.escape(suite)}(|-updates|-security)/InRelease'", text, re.MULTILINE)
    return {ending: address for address, ending in found} if release.get("ID") == "debian" else {}


def apt_options() -> list[str]:
    """What of this host's configuration of apt goes for the nodes of a sandbox too, as mmdebstrap's --aptopt: proxies, and
    whether lists may be out of date, as a mirror that is frozen wants it."""
    lines = _ask("apt-config", "dump").splitlines()
    return [line.rstrip(";") for line in lines if "::Proxy " in line or line.startswith("Acquire::Check-Valid-Until ")]
