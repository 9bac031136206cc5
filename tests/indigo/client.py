"""Clients as administrators and passers-by register them, and what a client may ask for. §6, §8."""

from __future__ import annotations

import secrets
import uuid
from dataclasses import dataclass, field
from typing import Any

DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
RESTRICTED = ("scim:read", "scim:write", "scim", "proxy:generate", "ssh-keys", "iam:admin.read", "iam:admin.write")
PROFILES = ("wlcg", "iam", "aarc", "kc")
PATHS = ("storage.read", "storage.create", "storage.modify", "storage.stage")  # whose part after `:` is a path


class Refusal(Exception):
    """An answer that is no success. §10. `error` "": the body is empty."""

    def __init__(self, status: int, error: str = "", description: str = "") -> None:
        super().__init__(f"{status} {error}: {description}")
        self.status = status
        self.body = ({"error": error} | ({"error_description": description} if description else {})) if error else None


@dataclass
class Client:
    """`secret` "" for a public one. The rest as an administrator's form has it at first."""

    id: str
    scopes: tuple[str, ...] = ()
    grants: tuple[str, ...] = ("authorization_code",)
    secret: str = ""
    name: str = ""
    reuse_refresh_token: bool = False  # rotating, without grace
    clear_access_tokens_on_refresh: bool = False
    allow_introspection: bool = True
    access_seconds: int = 3600
    refresh_seconds: int = 2592000
    device_seconds: int = 600
    disabled: bool = False
    registration_token: str = ""
    redirects: tuple[str, ...] = ()

    def profile(self, default: str) -> str:
        """§2: of the scopes that are registered for it, not of those asked for."""
        named = [name for name in PROFILES if name in self.scopes]
        return named[0] if len(named) == 1 else default

    def check_scopes(self, asked: list[str], paths: bool = True) -> None:
        """`paths`: with IAM's profile for WLCG scopes; without, only literally the same counts. §8."""
        for scope in asked:
            if not any(registered == scope or (paths and allows(registered, scope)) for registered in self.scopes):
                raise Refusal(400, "invalid_scope", f"Scope '{scope}' not allowed for client '{self.id}'")


def allows(registered: str, asked: str) -> bool:
    """Whether a registered scope covers one with a group (§7) or a path below its own (§8)."""
    if registered == "wlcg.groups" and asked.startswith("wlcg.groups:/"):
        return not asked.endswith("/")
    name, _, root = registered.partition(":")
    other, _, path = asked.partition(":")
    return name == other and name in PATHS and bool(path) and (path + "/").startswith(root.rstrip("/") + "/")


@dataclass
class Clients:
    """All that are registered."""

    known: dict[str, Client] = field(default_factory=dict)

    def add(self, client: Client) -> Client:
        self.known[client.id] = client
        return client

    def create(self, raw: dict[str, Any]) -> Client:
        """An administrator's POST: id and secret may be chosen, `allow_introspection` may not, and any scope is written."""
        name, scopes = str(raw.get("client_name", "")), tuple(str(raw.get("scope", "")).split())
        if raw.get("client_id") in self.known:
            raise Refusal(400, "Client id not available")
        if not 4 <= len(name) <= 256:
            raise Refusal(400, "Invalid length: must be at least 4 characters and no more than 256 characters")
        grants = tuple(raw.get("grant_types") or ("authorization_code",))
        grants += ("refresh_token",) if "offline_access" in scopes and "refresh_token" not in grants else ()
        public = raw.get("token_endpoint_auth_method") == "none"
        return self.add(
            Client(
                id=raw.get("client_id") or str(uuid.uuid4()),
                scopes=scopes,
                grants=grants,
                redirects=tuple(raw.get("redirect_uris") or ()),
                secret="" if public else raw.get("client_secret") or secrets.token_urlsafe(32),
                name=name,
                reuse_refresh_token=raw.get("reuse_refresh_token", False),
                clear_access_tokens_on_refresh=raw.get("clear_access_tokens_on_refresh", False),
                access_seconds=raw.get("access_token_validity_seconds", 3600),
                refresh_seconds=raw.get("refresh_token_validity_seconds", 2592000),
                device_seconds=raw.get("device_code_validity_seconds", 600),
            )
        )

    def register(self, raw: dict[str, Any]) -> Client:
        """Anybody's, without log-in: public ones with device code too."""
        if raw.get("client_id"):
            raise Refusal(400, "Client id must not be provided")
        for grant in raw.get("grant_types") or ():
            if grant in ("password", EXCHANGE, "client_credentials"):
                raise Refusal(400, f"Grant type not allowed: {grant}")
        allowed = [
            one for one in str(raw.get("scope", "")).split() if one not in RESTRICTED and not one.startswith("registration")
        ]
        theirs = {"reuse_refresh_token": True, "clear_access_tokens_on_refresh": True, "scope": " ".join(allowed)}
        client = self.create(raw | theirs)
        client.registration_token = secrets.token_urlsafe(16)
        return client

    def describe(self, client: Client) -> dict[str, Any]:
        found = {
            "client_id": client.id,
            "client_name": client.name,
            "grant_types": list(client.grants),
            "redirect_uris": list(client.redirects),
            "scope": " ".join(client.scopes),
            "token_endpoint_auth_method": "client_secret_basic" if client.secret else "none",
            "reuse_refresh_token": client.reuse_refresh_token,
            "clear_access_tokens_on_refresh": client.clear_access_tokens_on_refresh,
            "allow_introspection": client.allow_introspection,
            "access_token_validity_seconds": client.access_seconds,
            "refresh_token_validity_seconds": client.refresh_seconds,
            "device_code_validity_seconds": client.device_seconds,
        }
        found |= {"client_secret": client.secret} if client.secret else {}
        return found | ({"registration_access_token": client.registration_token} if client.registration_token else {})
