"""What is asked for by HTTP, and by whom. Statuses and bodies: §10."""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import secrets
import socket
import urllib.parse
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from joserfc.jwk import KeySet

from indigo import pages, scim
from indigo.client import DEVICE, EXCHANGE, Client, Refusal
from indigo.grants import Access, Form, group_names

if TYPE_CHECKING:
    from indigo.iam import Iam

GRANTS = ("authorization_code", "implicit", "refresh_token", "client_credentials", "password", EXCHANGE, DEVICE)
METHODS = ("client_secret_basic", "client_secret_post", "client_secret_jwt", "private_key_jwt", "none")
SCOPES = ("openid", "profile", "email", "address", "phone", "offline_access")
SCOPES += ("eduperson_scoped_affiliation", "eduperson_entitlement", "eduperson_assurance", "entitlements")
PLACES = {
    "token_endpoint": "token",
    "authorization_endpoint": "authorize",
    "device_authorization_endpoint": "devicecode",
    "introspection_endpoint": "introspect",
    "revocation_endpoint": "revoke",
    "userinfo_endpoint": "userinfo",
    "jwks_uri": "jwk",
    "registration_endpoint": "iam/api/client-registration",
    "scim_endpoint": "scim",
}
JSON, SCIM = "application/json;charset=UTF-8", "application/scim+json;charset=UTF-8"


class Server(ThreadingHTTPServer):
    daemon_threads = True
    iam: Iam


class Handler(BaseHTTPRequestHandler):
    @property
    def iam(self) -> Iam:
        assert isinstance(self.server, Server)
        return self.server.iam

    @property
    def url(self) -> urllib.parse.SplitResult:
        return urllib.parse.urlsplit(self.path)

    @property
    def query(self) -> Form:
        return first(self.url.query)

    def do_GET(self) -> None:
        self.serve("GET")

    def do_POST(self) -> None:
        self.serve("POST")

    def do_PUT(self) -> None:
        self.serve("PUT")

    def do_PATCH(self) -> None:
        self.serve("PATCH")

    def serve(self, method: str) -> None:
        self.data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            self.route(method)
        except Refusal as refusal:
            body = b"" if refusal.body is None else json.dumps(refusal.body).encode()
            self.send(refusal.status, body, SCIM if isinstance(refusal, scim.Unknown) else JSON)

    def route(self, method: str) -> None:  # noqa: C901 (a table)
        match method, self.url.path.strip("/").split("/"):
            case "GET", [".well-known", "openid-configuration"]:
                self.answer(200, self.describe())
            case "GET", ["jwk"]:
                kept = {"Cache_Control": "max-age=21600, must-revalidate, no-transform"}
                self.send(200, json.dumps(KeySet([self.iam.key]).as_dict(private=False)).encode(), JSON, **kept)
            case "GET", ["scim", *place]:
                self.read(place)
            case "GET", ["userinfo"]:
                self.tell_user(self.bearer())
            case "POST", ["devicecode"]:
                self.answer(200, self.iam.grants.start(self.form()))
            case "POST", ["token"]:
                self.give()
            case "POST", ["revoke"]:
                self.revoke()
            case "POST", ["introspect"]:
                self.introspect()
            case _, ["iam", "api", *place]:
                self.manage(method, place)
            case _, [("login" | "device" | "iam"), *_]:
                pages.serve(self, method)
            case _:
                raise Refusal(404, "Not Found")

    def describe(self) -> dict[str, Any]:
        found = {"issuer": self.iam.issuer} | {name: f"{self.iam.base}{path}" for name, path in PLACES.items()}
        found |= {"grant_types_supported": GRANTS, "token_endpoint_auth_methods_supported": METHODS, "scopes_supported": SCOPES}
        return found | {"code_challenge_methods_supported": ["plain", "S256"], "response_types_supported": ["code", "token"]}

    # clients

    def form(self) -> Form:
        """Of repeated parameters only the first counts."""
        return first(self.data.decode()) if "json" not in self.headers.get("Content-Type", "") else {}

    def client(self, form: Form) -> Client:
        known, said = self.iam.clients.known, self.headers.get("Authorization", "")
        if said.startswith("Basic "):  # as it is, not form-encoded
            name, _, secret = decode(said.removeprefix("Basic ")).partition(":")
            if name not in known or known[name].secret != secret:
                raise Refusal(401, "unauthorized", "Bad credentials")
        elif name := form.get("client_id", ""):
            if name not in known or known[name].secret != form.get("client_secret", ""):
                raise Refusal(401, "invalid_client", "Bad client credentials")
        else:
            raise Refusal(401, "unauthorized", "Full authentication is required to access this resource")
        if known[name].disabled:
            raise Refusal(401, "invalid_client", f"Client is disabled: {name}")
        return known[name]

    def give(self) -> None:
        if self.iam.drop:
            self.iam.drop -= 1
            self.hang_up()
            return
        form, grants = self.form(), self.iam.grants
        client, grant = self.client(form), form.get("grant_type", "")
        handle = {DEVICE: grants.poll, "refresh_token": grants.refresh, "client_credentials": grants.credentials}.get(grant)
        if not grant:
            raise Refusal(500, "server_error")
        if grant not in GRANTS:
            raise Refusal(400, "unsupported_grant_type", f"Unsupported grant type: {grant}")
        if grant not in client.grants:
            raise Refusal(401, "invalid_client", "Unauthorized grant type")
        if handle is None:
            raise Refusal(400, "invalid_request", "this stand-in does not have that grant")
        answer = handle(client, form)
        if self.iam.lose and grant == "refresh_token":
            self.iam.lose -= 1
            self.hang_up()
            return
        self.answer(200, answer)

    def revoke(self) -> None:
        """Of whom names itself in the form, as public clients do, it is led away. The token is revoked all the same."""
        form = self.form()
        self.iam.grants.revoke(self.client(form), form.get("token", ""))
        if "Authorization" in self.headers:
            self.send(200, b"", JSON)
        else:
            self.lead(self.iam.base)

    def introspect(self) -> None:
        form = self.form()
        if not self.headers.get("Authorization", "").startswith("Basic "):
            raise Refusal(401, "unauthorized", "Full authentication is required to access this resource")
        client, found = self.client(form), self.iam.grants.find(form.get("token", ""))
        if not client.allow_introspection:
            raise Refusal(403, "access_denied")
        user = found and self.iam.by_id(found.sub)
        if not found:
            self.answer(200, {"active": False})
        elif not user:  # a client's own token
            raise Refusal(405)
        else:
            audience = found.claims.get("aud", "")
            body = {key: found.claims[key] for key in ("exp", "sub", "client_id")} | {"active": True, "iss": self.iam.issuer}
            body |= {"scope": " ".join(one for one in found.scopes if one in client.scopes), "user_id": user["userName"]}
            body |= {"expires_at": datetime.fromtimestamp(found.claims["exp"], UTC).strftime("%FT%T%z")}
            body |= {"aud": audience if isinstance(audience, str) else " ".join(audience), "token_type": "Bearer"}
            self.answer(200, body | ({"wlcg.groups": group_names(user)} if group_names(user) else {}))

    def manage(self, method: str, place: list[str]) -> None:
        """An administrator's clients, and anybody's."""
        clients = self.iam.clients
        if (method, place) == ("POST", ["client-registration"]):
            self.answer(201, clients.describe(clients.register(json.loads(self.data))))
            return
        if self.user() != "admin":
            self.bearer("iam:admin.write")
        match method, place:
            case "POST", ["clients"]:
                self.answer(201, clients.describe(clients.create(json.loads(self.data))))
            case "GET", ["clients", uid] if uid in clients.known:
                self.answer(200, clients.describe(clients.known[uid]))
            case "PATCH", ["clients", uid, ("enable" | "disable") as verb] if uid in clients.known:
                clients.known[uid].disabled = verb == "disable"
                self.send(200, b"", JSON)
            case _:
                raise Refusal(404, "Client not found")

    # bearers and readers

    def user(self) -> str:
        """Who is logged in at the pages."""
        return pages.find(self)

    def bearer(self, *scopes: str) -> Access:
        kind, _, token = self.headers.get("Authorization", "").partition(" ")
        if kind != "Bearer":
            raise Refusal(401, "unauthorized", "Full authentication is required to access this resource")
        found = self.iam.grants.find(token)
        if found is None:
            raise Refusal(401, "invalid_token", f"Invalid access token: {token}")
        if not set(scopes) <= set(found.scopes):
            raise Refusal(403, "access_denied", "Access is denied")
        return found

    def tell_user(self, access: Access) -> None:
        user = self.iam.by_id(access.sub)
        if user is None:
            raise Refusal(403)
        found = {"sub": user["id"], "name": user["name"]["formatted"], "preferred_username": user["userName"]}
        found |= {"given_name": user["name"]["givenName"], "family_name": user["name"]["familyName"]}
        found |= {"email": user["emails"][0]["value"], "email_verified": True, "scope": list(access.scopes)}
        found |= {"updated_at": int(datetime.fromisoformat(user["meta"]["lastModified"]).timestamp())}
        self.answer(200, found | ({"wlcg.groups": group_names(user)} if group_names(user) else {}))

    def read(self, place: list[str]) -> None:
        self.bearer("scim:read")
        kinds = [word.partition(";")[0].strip() for word in self.headers.get("Accept", "*/*").split(",")]
        if not {"application/scim+json", "*/*"} & set(kinds):
            raise Refusal(406)
        match place:
            case ["Users"]:
                self.list_users()
            case ["Users", uid]:
                self.iam.asked.append(self.path)
                self.answer(200, scim.read_user(self.iam, urllib.parse.unquote(uid)), SCIM)
            case ["Groups"]:
                self.answer(200, scim.page(scim.list_groups(self.iam), self.query), SCIM)
            case ["Groups", uid]:
                self.answer(200, scim.read_group(self.iam, uid), SCIM)
            case _:
                raise Refusal(404)

    def list_users(self) -> None:
        iam, query = self.iam, self.query
        iam.asked.append(self.path)
        if iam.broken:
            self.send(200, iam.broken, SCIM)
        elif iam.fail_from and int(query.get("startIndex", 1)) >= iam.fail_from:
            raise Refusal(500, "server_error")
        else:
            page = json.dumps(scim.page(iam.users, query)).encode()
            iam.between()
            self.send(200, page, SCIM)

    # answers

    def hang_up(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def answer(self, status: int, body: dict[str, Any], kind: str = JSON) -> None:
        self.send(status, json.dumps(body).encode(), kind)

    def lead(self, place: str, **headers: str) -> None:
        self.send(302, b"", "text/html", Location=place, **headers)

    def send(self, status: int, data: bytes, kind: str, **headers: str) -> None:
        self.send_response(status)
        for name, value in ({"Content-Type": kind, "Content-Length": str(len(data))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


def first(text: str) -> Form:
    return {name: values[0] for name, values in urllib.parse.parse_qs(text).items()}


def decode(text: str) -> str:
    with contextlib.suppress(binascii.Error, UnicodeDecodeError):
        return base64.b64decode(text).decode()
    return secrets.token_hex()
