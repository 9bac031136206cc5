"""A dCache, an authority that vouches for it and an issuer that it trusts: what a test on this machine needs."""

from __future__ import annotations

import http.client
import socket
import ssl
import subprocess
import time
import urllib.parse
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

from dcache.dcache import Dcache
from dcache.tokens import PREFIX, Authority

ISSUER, AUDIENCE = "https://issuer.example.org", "https://wlcg.cern.ch/jwt/v1/any"
NAMES = "subjectAltName=DNS:localhost,IP:127.0.0.1"


@dataclass(frozen=True)
class Answer:
    """`headers`: names in lower case."""

    status: int
    phrase: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Centre:
    folder: Path
    keys: list[ECKey] = field(default_factory=lambda: [ECKey.generate_key("P-256", {"kid": "first"})])
    fetched: int = 0

    def __post_init__(self) -> None:
        self.trust = self.folder / "trust"
        self.trust.mkdir()
        self.certificate, self.key = self.certify("host")
        self.cafile = self.trust / "host.pem"
        self.cafile.write_text(self.certificate.read_text())
        subprocess.run(["openssl", "rehash", self.trust], check=True)
        authority = Authority(ISSUER, (AUDIENCE,), self._fetch)
        self.dcache = Dcache(authority, self.folder / "pool", self.certificate, self.key, self.cafile)
        authority.audiences = (AUDIENCE, self.dcache.url)

    def certify(self, stem: str) -> tuple[Path, Path]:
        """A certificate for this machine that vouches for itself, and its key."""
        paths = self.folder / f"{stem}.crt", self.folder / f"{stem}.key"
        make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
        names = ["-subj", f"/CN={stem}", "-addext", NAMES, "-keyout", paths[1], "-out", paths[0]]
        subprocess.run([*make, *names], check=True, capture_output=True)
        return paths

    def _fetch(self) -> dict[str, Any]:
        self.fetched += 1
        return dict(KeySet(list(self.keys)).as_dict(private=False))

    def token(self, scope: str | None = "storage.read:/ storage.modify:/", key: ECKey | None = None, **claims: Any) -> str:
        """Claims that are None are left out."""
        now, key = int(time.time()), key or self.keys[-1]
        said = {"iss": ISSUER, "sub": "ada", "aud": AUDIENCE, "exp": now + 600, "wlcg.ver": "1.0", "scope": scope} | claims
        header = {"alg": "ES256", "typ": "at+jwt"} | ({"kid": key.kid} if key.kid else {})
        return jwt.encode(header, {name: value for name, value in said.items() if value is not None}, key)

    def ask(self, method: str, path: str, token: str = "", body: bytes | None = None, url: str = "", **headers: str) -> Answer:
        """One request at a path below the prefix, or at a whole `url`. Redirects are not followed."""
        place = urllib.parse.urlsplit(url or self.dcache.base + path)
        context = ssl.create_default_context(cafile=str(self.cafile))
        connection = http.client.HTTPSConnection(place.netloc, timeout=20, context=context)
        said = {name.replace("_", "-"): value for name, value in headers.items()}
        said |= {"Authorization": f"Bearer {token}"} if token else {}
        try:
            connection.request(method, place._replace(scheme="", netloc="").geturl(), body, said)
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, answer.reason, found, answer.read())
        finally:
            connection.close()

    def lead(self, method: str, path: str, token: str) -> str:
        """Where the door sends data of a file."""
        answer = self.ask(method, path, token, **({"Expect": "100-continue", "Content_Length": "0"} if method == "PUT" else {}))
        assert answer.status in (302, 307), answer
        return answer.headers["location"]

    def break_off(self, url: str, part: bytes, token: str = "") -> None:
        """An upload of which only a part comes."""
        place = urllib.parse.urlsplit(url)
        context = ssl.create_default_context(cafile=str(self.cafile))
        bearer = f"Authorization: Bearer {token}\r\n" if token else ""
        head = f"PUT {place._replace(scheme='', netloc='').geturl()} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(part) + 1}\r\n"
        with (
            socket.create_connection((place.hostname, place.port)) as plain,
            context.wrap_socket(plain, server_hostname=place.hostname) as connection,
        ):
            connection.sendall(f"{head}{bearer}\r\n".encode() + part)

    def read(self, path: str) -> bytes:
        """What the pool has of a file."""
        found = self.dcache.namespace.entries[PREFIX + path]
        assert found.data
        return found.data.read_bytes()

    def reset(self) -> None:
        """As it was made: empty, with nothing remembered."""
        names, authority = self.dcache.namespace, self.dcache.authority
        names.clear()
        names.make_folder(PREFIX)
        names.room, self.dcache.redirect, self.dcache.slow = None, True, False
        authority.forget()
        authority.behind, authority.errors, authority.block, authority.forget_errors = 0, 3, 10, 20
        authority.log.clear(), self.dcache.heard.clear()
        self.fetched = 0

    def close(self) -> None:
        self.dcache.close()
