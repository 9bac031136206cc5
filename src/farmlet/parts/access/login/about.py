"""What a facility says of itself at `/ssh/about`: all that a member's own machine must know.

Its words end up in file names and in ssh's configuration, so each is looked at before it is used.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from farmlet.errors import FarmletError
from farmlet.facility.names import FACILITY, LABEL
from farmlet.runtime.oauth import load_json

KEY = r"(?:ssh|ecdsa|sk)-[A-Za-z0-9@.-]+ [A-Za-z0-9+/=]+"
CLIENT = re.compile(r"[\x21-\x7e]{1,256}")
SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e ]{0,4000}")  # RFC 6749 §3.3
HOURS = 24 * 7
BASE = "openid offline_access"


@dataclass(frozen=True)
class About:
    """A facility. `issuer` is a URL, `client` the public OAuth client of members' machines, `scope` what opens data there.

    `hours`: how long a certificate lives; `nodes`: the log-in hosts; `authority`: the known_hosts line (sshd(8)).
    """

    name: str
    title: str
    domain: str
    issuer: str
    client: str
    scope: str
    hours: int
    nodes: tuple[str, ...]
    authority: str


def load(url: str, cafile: str | None) -> About:
    """Ask the facility at `url`. Raises Unreachable, OAuthError, or FarmletError for an answer that cannot be used."""
    return parse(load_json(f"{url}/ssh/about", cafile), url)


def parse(raw: Mapping[str, Any], url: str) -> About:
    """The facility's answer, checked. Raises FarmletError for one that is none, or that speaks for hosts of others."""
    try:
        texts = {name: str(raw[name]) for name in ("name", "title", "domain", "issuer", "client", "scope", "authority")}
        found = About(**texts, hours=int(raw["hours"]), nodes=tuple(str(node) for node in raw["nodes"]))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise FarmletError(url, f"what it says of itself has no sound {error}", "is it a Farmlet facility?") from error
    if not found.client:
        hint = "its administrators name one: access: {client: ID}"
        raise FarmletError(url, "has no client for members' own machines at its external issuer yet", hint)
    faults = {
        "name": bool(FACILITY.fullmatch(found.name)),
        "title": len(found.title) < 200 and (not found.title or found.title.isprintable()),
        "domain": _is_host(found.domain) and _within(urllib.parse.urlsplit(url).hostname or "", found.domain),
        "client": bool(CLIENT.fullmatch(found.client)),
        "scope": bool(SCOPE.fullmatch(found.scope)),
        "hours": 0 < found.hours <= HOURS,
        "nodes": all(_is_host(node) and _within(node, found.domain) for node in found.nodes),
        "authority": bool(re.fullmatch(_hosts(found.domain) + " " + KEY, found.authority.strip())),
    }
    if wrong := [name for name, sound in faults.items() if not sound]:
        raise FarmletError(url, f"what it says of itself cannot be used: {', '.join(wrong)}", "tell its administrators")
    return found


def _hosts(domain: str) -> str:
    return re.escape(f"@cert-authority *.{domain},{domain}")


def _is_host(name: str) -> bool:
    return 0 < len(name) < 254 and all(LABEL.fullmatch(label) for label in name.split("."))


def _within(host: str, domain: str) -> bool:
    return host == domain or host.endswith(f".{domain}")
