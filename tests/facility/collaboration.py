"""A collaboration's INDIGO IAM as a facility meets it: the stand-in of the service tests, over TLS, and it issues tokens.

It stands on the machine of the stand-in site, whose authority the facility's nodes trust; a proxy there leads to this process.
Tokens have the manners of the WLCG profile of INDIGO IAM (its package core.oauth.profile): RS256, no type in the header,
the audience that was asked for, groups only with `wlcg.groups`.
"""

from __future__ import annotations

import secrets
import ssl
import sys
import time
import urllib.parse
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conftest import docker
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

sys.path.append(str(Path(__file__).parents[1] / "service" / "identity"))
from iam import CLIENT, SECRET, Handler, Iam, Server

__all__ = ["CERTIFICATE", "CLIENT", "SECRET", "Collaboration"]

PORT = 8444
CERTIFICATE = "/etc/farmlet/tls/xrootd"  # of the site's own authority
ANY = "https://wlcg.cern.ch/jwt/v1/any"
LIFE = 3600  # seconds of an access token


@dataclass
class Collaboration(Iam):
    """Serves https://HOST:8444/ behind the container `proxy`. `person`: the user who allows every device that asks."""

    host: str = ""
    proxy: str = ""
    person: str = ""
    waiting: dict[str, dict[str, str]] = field(default_factory=dict)  # device code → what was asked for
    given: dict[str, tuple[str, dict[str, str]]] = field(default_factory=dict)  # refresh token → user, what was asked for

    def __post_init__(self) -> None:
        self.issuer = f"https://{self.host}:{PORT}/"
        self.key = RSAKey.generate_key(2048, {"kid": "rsa1", "use": "sig", "alg": "RS256"}, private=True)

    def open(self, folder: Path) -> None:
        """Answer from now on. The site's machine must be there."""
        for ending in ("crt", "key"):
            docker("cp", f"{self.proxy}:{CERTIFICATE}.{ending}", str(folder))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "xrootd.crt", folder / "xrootd.key")
        # what of this machine the site's machine reaches, and nobody outside
        gateway = docker("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.Gateway}}{{end}}", self.proxy)
        server = Server((gateway, 0), Counter)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        self.listen(server)
        there = (
            f"--socket-property=ListenStream={PORT} /usr/lib/systemd/systemd-socket-proxyd {gateway}:{server.server_address[1]}"
        )
        docker("exec", self.proxy, "sh", "-c", f"systemd-run --quiet --unit iam-proxy {there}")

    def close(self) -> None:
        if hasattr(self, "_server"):
            super().close()

    def issue(self, username: str, asked: dict[str, str]) -> dict[str, Any]:
        user, scopes, now = self.find(username), asked["scope"].split(), int(time.time())
        claims: dict[str, Any] = {"iss": self.issuer, "sub": user["id"], "aud": asked.get("audience") or ANY}
        claims |= {"iat": now, "nbf": now - 60, "exp": now + LIFE, "jti": secrets.token_hex(16)}
        claims |= {"scope": asked["scope"], "client_id": asked["client_id"], "wlcg.ver": "1.0"}
        if "wlcg.groups" in scopes:
            claims["wlcg.groups"] = ["/" + group["display"] for group in user["groups"]]
        if "profile" in scopes:
            claims["preferred_username"] = username
        answer = {"access_token": jwt.encode({"alg": "RS256", "kid": "rsa1"}, claims, self.key), "token_type": "Bearer"}
        answer |= {"expires_in": LIFE, "scope": asked["scope"]}
        if "offline_access" in scopes:
            answer["refresh_token"] = secrets.token_urlsafe(32)
            self.given[answer["refresh_token"]] = (username, asked)
        return answer

    @property
    def metadata(self) -> dict[str, Any]:
        places = {"token_endpoint": "token", "device_authorization_endpoint": "devicecode", "jwks_uri": "jwk"}
        return {"issuer": self.issuer} | {name: f"{self.issuer}{path}" for name, path in places.items()}


class Counter(Handler):
    """The IAM's counter for members' programs, beside what the daemon asks for."""

    @property
    def theirs(self) -> Collaboration:
        assert isinstance(self.iam, Collaboration)
        return self.iam

    def do_GET(self) -> None:
        match self.path:
            case "/.well-known/openid-configuration":
                self.answer(200, self.theirs.metadata, "application/json")
            case "/jwk":
                self.answer(200, dict(KeySet([self.theirs.key]).as_dict(private=False)), "application/json")
            case _:
                super().do_GET()

    def do_POST(self) -> None:
        if "Authorization" in self.headers:
            super().do_POST()
            return
        form = dict(urllib.parse.parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode()))
        if self.path == "/devicecode":
            code = secrets.token_urlsafe(16)
            self.theirs.waiting[code] = form
            place = {"user_code": "ABCD", "verification_uri": f"{self.theirs.issuer}device"}
            self.answer(200, place | {"device_code": code, "expires_in": 600, "interval": 1}, "application/json")
        elif form.get("device_code") in self.theirs.waiting:
            self._give(self.theirs.person, self.theirs.waiting.pop(form["device_code"]))
        elif form.get("refresh_token") in self.theirs.given:  # INDIGO rotates none
            username, asked = self.theirs.given[form["refresh_token"]]
            self._give(username, asked | {name: form[name] for name in ("scope", "audience") if name in form})
        else:
            self.answer(400, {"error": "invalid_grant"}, "application/json")

    def _give(self, username: str, asked: dict[str, str]) -> None:
        if self.theirs.find(username)["active"]:
            self.answer(200, self.theirs.issue(username, asked), "application/json")
        else:
            self.answer(400, {"error": "invalid_grant", "error_description": "inactive user"}, "application/json")
