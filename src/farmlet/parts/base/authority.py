"""The renewal authority: signs nodes' certificates anew while nobody runs `up`. WSGI; needs cryptography.

    POST /renewal/certificate  {"request": PEM, "names": [NAME…], "client": BOOL} → the certificate and this authority's own, PEM
    GET  /authority/NAME       for everybody: `facility.pem` and `renewal.pem`, the certificates of the facility's authority and
                               of this one; `facility.crl` and `renewal.crl`, the lists of what they have revoked

Who asks is told by the reverse proxy alone, as at the control API, by the certificate that the node has now. A node gets
certificates for its own names, as `up` wrote them here, and a client's for its first name only: by that others know it.
The authority is an intermediate one of the facility's (decision 0022), constrained to its domain like that.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from farmlet.errors import FarmletError
from farmlet.parts.resources import LEAF_DAYS
from farmlet.runtime import certificates
from farmlet.runtime.wsgi import Environ, Refused, Start, identify, read_body

BODY_BYTES = 16 * 1024
log = logging.getLogger("farmlet.renewal")


class Renewal:
    """The WSGI application. `certificate`, `key`: its own; `nodes`: all names of each node, by its first; `published`: files by
    name. `clock`: for tests."""

    def __init__(
        self,
        certificate: Path,
        key: Path,
        nodes: Mapping[str, Sequence[str]],
        clock: Callable[[], float] = time.time,
        published: Mapping[str, str] | None = None,
    ) -> None:
        self._certificate, self._key, self._nodes, self._clock = certificate, key, dict(nodes), clock
        self._published = dict(published or {})

    def __call__(self, environ: Environ, start: Start) -> Iterable[bytes]:
        try:
            text = self._answer(environ)
        except Refused as refused:
            return refused.answer(start)
        start("200 OK", [("Content-Type", "application/x-pem-file"), ("Cache-Control", "no-store")])
        return [text.encode()]

    def _answer(self, environ: Environ) -> str:
        folder, _, name = environ.get("PATH_INFO", "").removeprefix("/").partition("/")
        if folder == "authority":
            return self._publish(environ["REQUEST_METHOD"], name)
        own = identify(environ, self._nodes)
        if (environ["REQUEST_METHOD"], environ.get("PATH_INFO", "")) != ("POST", "/renewal/certificate"):
            raise Refused("404 Not Found", "no such page")
        request, names, client = _parse(read_body(environ, BODY_BYTES))
        if not set(names) <= set(own) or (client and names != list(own[:1])):
            log.warning("%s asked for %s and was refused", own[0], ", ".join(names))
            raise Refused("403 Forbidden", f"{own[0]} may renew a certificate for its own names only")
        try:
            public = certificates.read_request(request)
            authority, key = self._certificate.read_bytes(), certificates.load_key(self._key.read_bytes())
            made = certificates.sign(authority, key, public, names, client, LEAF_DAYS, datetime.fromtimestamp(self._clock(), UTC))
        except FarmletError as error:
            log.error("%s", error)
            raise Refused("503 Service Unavailable", f"{error.where} {error.what}") from error
        log.info("renewed for %s: %s", own[0], ", ".join(names))
        return made + authority.decode()

    def _publish(self, method: str, name: str) -> str:
        try:
            if method == "GET" and name in self._published:
                return Path(self._published[name]).read_text()
            if method == "GET" and name == "renewal.pem":
                return self._certificate.read_text()
            if method == "GET" and name == "renewal.crl":
                authority, key = self._certificate.read_bytes(), certificates.load_key(self._key.read_bytes())
                return certificates.make_list(authority, key, LEAF_DAYS, datetime.fromtimestamp(self._clock(), UTC)).decode()
        except (OSError, FarmletError) as error:
            log.error("%s", error)
            raise Refused("503 Service Unavailable", "not there just now") from error
        raise Refused("404 Not Found", "no such page")


def _parse(body: bytes) -> tuple[str, list[str], bool]:
    try:
        data = json.loads(body)
        request, names, client = data["request"], data["names"], data["client"]
        sound = isinstance(request, str) and isinstance(client, bool) and isinstance(names, list) and names
        if not sound or not all(isinstance(name, str) for name in names):
            raise ValueError("of another type")
        certificates.read_request(request)
    except (ValueError, KeyError, TypeError, RecursionError, FarmletError) as error:
        raise Refused("400 Bad Request", "this is no request for a certificate") from error
    return request, names, client


def load(path: str) -> Renewal:
    """The application from its JSON file {"certificate", "key", "nodes": {fqdn: [name…]}, "published": {name: path}}; what
    gunicorn is told to call."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    config = json.loads(Path(path).read_text())
    return Renewal(Path(config["certificate"]), Path(config["key"]), config["nodes"], published=config["published"])
