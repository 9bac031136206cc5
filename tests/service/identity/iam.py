"""A stand-in for an INDIGO IAM: its paths, its manners, none of its code.

Written from its source (indigo-iam/iam, packages api.scim and core.oauth): an issuer that ends in a slash, users on pages of
at most 100 at /scim/Users, no filter, no feed, groups by their full name, `displayName` that is the user name, access tokens
without a type. What a real IAM does otherwise, these tests cannot see.
"""

from __future__ import annotations

import base64
import json
import threading
import urllib.parse
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CLIENT, SECRET = "1d5f0e2c-client", "s3cret+of/it"
LARGEST = 100
EXTENSION = "urn:indigo-dc:scim:schemas:IndigoUser"


@dataclass
class Iam:
    """Serves http://localhost:PORT/ until `close`. `users` are SCIM users, in the order of the pages."""

    users: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    fail_from: int = 0  # startIndex from which on a page is answered with an error
    broken: bytes = b""  # what is sent instead of a page

    def __post_init__(self) -> None:
        self.listen(Server(("127.0.0.1", 0), Handler))
        self.issuer = f"http://localhost:{self._server.server_address[1]}/"

    def listen(self, server: Server) -> None:
        self._server = server
        server.iam = self
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def add(self, username: str, *groups: str, given: str = "", family: str = "", **more: Any) -> dict[str, Any]:
        number = len(self.users)
        user = {
            "id": f"00000000-0000-4000-8000-{number:012d}",
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User", EXTENSION],
            "meta": {"created": f"2024-01-01T00:00:00.{number:03d}Z", "resourceType": "User"},
            "userName": username,
            "displayName": username,
            "name": {"givenName": given or username.title(), "familyName": family or "Example"},
            "active": True,
            "emails": [{"type": "work", "value": f"{username}@example.org", "primary": True}],
            "groups": [self.group(name) for name in groups],
            EXTENSION: {},
        }
        self.users.append(user | more)
        return self.users[-1]

    def group(self, name: str) -> dict[str, str]:
        uid = f"group-of-{name.replace('/', '.')}"
        return {"display": name, "value": uid, "$ref": f"{self.issuer}scim/Groups/{uid}"}

    def find(self, username: str) -> dict[str, Any]:
        return next(user for user in self.users if user["userName"] == username)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    iam: Iam


class Handler(BaseHTTPRequestHandler):
    @property
    def iam(self) -> Iam:
        assert isinstance(self.server, Server)
        return self.server.iam

    def do_GET(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        if url.path == "/.well-known/openid-configuration":
            self.answer(200, {"issuer": self.iam.issuer, "token_endpoint": f"{self.iam.issuer}token"}, "application/json")
        elif url.path != "/scim/Users":
            self.answer(404, {"error": "Not Found"}, "application/json")
        elif self.headers.get("Authorization") != "Bearer token-of-the-client":
            self.answer(401, {"error": "invalid_token"}, "application/json")
        else:
            self.page(dict(urllib.parse.parse_qsl(url.query)))

    def do_POST(self) -> None:
        form = dict(urllib.parse.parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode()))
        basic = base64.b64decode(self.headers.get("Authorization", "").removeprefix("Basic ")).decode()
        pair = [urllib.parse.unquote_plus(part) for part in basic.split(":")]
        if self.path != "/token" or pair != [CLIENT, SECRET]:
            self.answer(401, {"error": "invalid_client"}, "application/json")
        elif form.get("grant_type") != "client_credentials" or "scim:read" not in form.get("scope", "").split():
            self.answer(400, {"error": "invalid_scope"}, "application/json")
        else:
            token = {"access_token": "token-of-the-client", "token_type": "Bearer", "expires_in": 3599}
            self.answer(200, token | {"scope": "scim:read"}, "application/json")

    def page(self, query: dict[str, str]) -> None:
        self.iam.asked.append(self.path)
        start, count = max(1, int(query.get("startIndex", 1))), min(LARGEST, int(query.get("count", LARGEST)))
        kind = "application/scim+json;charset=UTF-8"
        if "filter" in query:
            self.answer(400, {"detail": "this IAM cannot filter"}, kind)
        elif self.iam.broken:
            self.send(200, self.iam.broken, kind)
        elif self.iam.fail_from and start >= self.iam.fail_from:
            self.answer(500, {"detail": "Internal Server Error"}, kind)
        else:
            found = self.iam.users[start - 1 : start - 1 + count]
            body: dict[str, Any] = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"]}
            body |= {"totalResults": len(self.iam.users), "itemsPerPage": len(found), "startIndex": start}
            self.answer(200, body | {"Resources": found}, kind)

    def answer(self, status: int, body: dict[str, Any], kind: str) -> None:
        self.send(status, json.dumps(body).encode(), kind)

    def send(self, status: int, data: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass
