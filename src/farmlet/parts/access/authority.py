"""The SSH certificate authority for members. WSGI; needs joserfc for the tokens.

    POST /ssh/sign         {"public_key": LINE} with a Bearer token (aud `ssh`, of a client that counts; RFC 6750)
                           → {"certificate", "principal", "expires" (seconds since 1970)}
    GET  /ssh/about        what a member's own machine needs to log in:
                           {"name", "title", "domain", "issuer", "client", "scope", "hours", "nodes", "authority"}
    GET  /ssh/known_hosts  the line by which a client knows every host of the facility
    GET  /ssh/ca.pub       the authority's public key for members' certificates

The certificate's only principal is the member's UNIX name: the token's `preferred_username`, or with an external issuer
the name that the accounts daemon gave to its `sub`. Whether that member may log in is asked at each
log-in on the log-in node, not here: a certificate outlives a suspension, the right to use it does not.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from farmlet.errors import FarmletError, InputError
from farmlet.facility.names import MEMBER, RESERVED
from farmlet.facility.places import SSH
from farmlet.parts.access import certificates
from farmlet.runtime.oauth import Unreachable
from farmlet.runtime.tokens import Refused, Verifier
from farmlet.runtime.wsgi import Environ, Start

BODY_BYTES = 8192
log = logging.getLogger("farmlet.ssh")

Answer = tuple[str, dict[str, Any] | str, list[tuple[str, str]]]


class Authority:
    """The WSGI application. `key` and `host_key` are the private keys for members and hosts (paths; `.pub` beside).

    `verifier` knows whose tokens count. `about` is what clients are told besides domain, hours and the hosts' authority.
    """

    def __init__(
        self,
        verifier: Verifier,
        key: Path,
        host_key: Path,
        domain: str,
        hours: int,
        members: Path | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        self._verifier, self._key, self._host_key, self._members = verifier, key, host_key, members
        self._domain, self._hours, self._about = domain, hours, about or {}

    def __call__(self, environ: Environ, start: Start) -> Iterable[bytes]:
        status, body, headers = self._answer(environ)
        kind = "text/plain; charset=utf-8" if isinstance(body, str) else "application/json"
        start(status, [("Content-Type", kind), ("Cache-Control", "no-store"), *headers])
        return [(body if isinstance(body, str) else json.dumps(body)).encode()]

    def _answer(self, environ: Environ) -> Answer:
        match (environ["REQUEST_METHOD"], environ.get("PATH_INFO", "")):
            case ("GET", "/ssh/about"):
                authority = known_hosts(self._domain, self._public(self._host_key)).strip()
                own = {"domain": self._domain, "hours": self._hours, "authority": authority}
                return "200 OK", {**self._about, **own}, []
            case ("GET", "/ssh/known_hosts"):
                return "200 OK", known_hosts(self._domain, self._public(self._host_key)), []
            case ("GET", "/ssh/ca.pub"):
                return "200 OK", self._public(self._key) + "\n", []
            case ("POST", "/ssh/sign"):
                try:
                    return "200 OK", self._sign(environ), []
                except Refused as error:
                    challenge = ("WWW-Authenticate", 'Bearer error="invalid_token"')  # RFC 6750 §3
                    return "401 Unauthorized", {"error": error.what}, [challenge]
                except InputError as error:
                    return "400 Bad Request", {"error": f"{error.where} {error.what}", "hint": error.hint}, []
                except Unreachable as error:
                    log.warning("%s", error)
                    return "503 Service Unavailable", {"error": "the issuer's keys cannot be had; try again"}, []
                except FarmletError as error:
                    log.error("%s", error)
                    return "500 Internal Server Error", {"error": "the authority cannot sign now"}, []
            case _:
                return "404 Not Found", "no such page\n", []

    @staticmethod
    def _public(key: Path) -> str:
        return Path(f"{key}.pub").read_text().strip()

    def _sign(self, environ: Environ) -> dict[str, Any]:
        claims = self._verifier.verify(_bearer(environ))
        name = claims.username if self._members is None else find_name(self._members, claims.sub)
        if not MEMBER.fullmatch(name) or name in RESERVED:
            raise Refused("it is not a member's token")
        key = certificates.parse(_public_key(environ))
        expires = int(time.time()) + self._hours * 3600
        request = certificates.Request(
            key=key, identity=f"{claims.sub}/{claims.jti}", principals=(name,), validity=f"-1m:+{self._hours}h"
        )
        certificate = certificates.sign(self._key, request)
        log.info("signed for %s: id %s, by client %s", name, request.identity, claims.client_id or "unknown")
        return {"certificate": certificate, "principal": name, "expires": expires}


def find_name(listing: Path, sub: str) -> str:
    """The UNIX name of an active member in the accounts daemon's listing. Raises Refused, or FarmletError without one."""
    try:
        rows = json.loads(listing.read_text())
    except (OSError, ValueError) as error:
        raise FarmletError(str(listing), f"no list of members: {error}", "farmlet check accounts") from error
    name = next((str(row["name"]) for row in rows if row["sub"] == sub and row["state"] == "active"), "")
    if not name:
        raise Refused("its owner is no active member here; a new member is known here a minute after the issuer has them")
    return name


def known_hosts(domain: str, key: str) -> str:
    """The known_hosts line (sshd(8)) that trusts `key` for every host of `domain`."""
    return f"@cert-authority *.{domain},{domain} {' '.join(key.split()[:2])}\n"


def _bearer(environ: Environ) -> str:
    scheme, _, token = str(environ.get("HTTP_AUTHORIZATION", "")).partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Refused("no Bearer token was sent")
    return token.strip()


def _public_key(environ: Environ) -> str:
    length = str(environ.get("CONTENT_LENGTH") or "")
    if not length.isdigit() or int(length) > BODY_BYTES:
        raise InputError("request", f"needs a body of at most {BODY_BYTES} bytes, and its length")
    try:
        key = json.loads(environ["wsgi.input"].read(int(length)))["public_key"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InputError("request", 'needs the JSON {"public_key": "ssh-ed25519 …"}') from None
    if not isinstance(key, str) or not key.strip():
        raise InputError("request", "`public_key` is a line of text")
    return key


def load(path: str) -> Authority:
    """What gunicorn calls: the application from its JSON file {"issuer", "clients", "members", "key", "host_key", "domain",
    "hours", "about"}.

    "members" is the accounts daemon's listing if the issuer is external, else "".
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    config = json.loads(Path(path).read_text())
    members = Path(config["members"]) if config["members"] else None
    verifier = Verifier(config["issuer"], SSH, typed=members is None, clients=config["clients"])
    keys = (Path(config["key"]), Path(config["host_key"]))
    return Authority(verifier, *keys, config["domain"], config["hours"], members, config["about"])
