"""Whom and what the IAM knows, and what its administrators and members do to it. §5, §7, §9."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from http.server import ThreadingHTTPServer
from typing import Any

from joserfc.jwk import RSAKey

from indigo.client import DEVICE, Client, Clients
from indigo.grants import Grants

CLIENT, SECRET = "1d5f0e2c-client", "s3cret-of_IAM"  # who reads the members
MEMBERS, BATCH = "farmlet", "batch"  # the facility's public clients
ADMIN, PASSWORD = "admin", "password"  # of its pages; the password is everybody's
EXTENSION = "urn:indigo-dc:scim:schemas:IndigoUser"
PUBLIC = ("openid", "profile", "email", "offline_access", "wlcg", "wlcg.groups", "storage.read:/", "storage.modify:/")


@dataclass
class Iam:
    """Serves http://localhost:PORT/ until `close`. `users` are SCIM users, in the order of the pages (of creation).

    `slash`: whether it is configured with one at the end of its issuer (§1). `paths`: whether it runs with its profile for WLCG
    scopes (§8). `profile`: of tokens, for clients that name none.
    """

    slash: bool = True
    paths: bool = True
    profile: str = "wlcg"
    users: list[dict[str, Any]] = field(default_factory=list)
    clients: Clients = field(default_factory=Clients)
    denied: set[str] = field(default_factory=set)  # scopes that a policy denies everybody, §8
    optional: set[str] = field(default_factory=set)  # groups with the label `wlcg.optional-group`, §7
    aup: datetime | None = None  # since when there is one to sign
    sessions: dict[str, str] = field(default_factory=dict)  # of its pages: cookie → user name
    person: str = ""  # who allows every device that asks; "": somebody has to
    # what happens to it
    asked: list[str] = field(default_factory=list)  # pages of users
    between: Callable[[], None] = lambda: None  # after a page of users was read, before it is sent
    fail_from: int = 0  # startIndex from which on a page is answered with an error
    broken: bytes = b""  # what is sent instead of a page
    drop: int = 0  # so many requests for tokens never come to it
    lose: int = 0  # so many answers to refreshes are lost on the way
    ever: int = 0  # users that there ever were
    base: str = ""  # where it is, with a slash

    def __post_init__(self) -> None:
        from indigo.server import Handler, Server

        self.grants = Grants(self)
        for client in (
            Client(CLIENT, ("scim:read",), ("client_credentials",), SECRET),
            Client(MEMBERS, PUBLIC, (DEVICE, "refresh_token"), reuse_refresh_token=True),
            Client(BATCH, PUBLIC, (DEVICE, "refresh_token"), reuse_refresh_token=True),
        ):
            self.clients.add(client)
        if not self.base:
            self.listen(Server(("127.0.0.1", 0), Handler))
            self.base = f"http://localhost:{self._server.server_address[1]}/"

    @property
    def issuer(self) -> str:
        """As discovery and ID tokens say it."""
        return self.base

    @property
    def token_issuer(self) -> str:
        """As access tokens say it. §1."""
        return self.base if self.slash else self.base.rstrip("/")

    @cached_property
    def key(self) -> RSAKey:
        return RSAKey.generate_key(2048, {"kid": "rsa1", "use": "sig", "alg": "RS256"}, private=True)

    def listen(self, server: ThreadingHTTPServer) -> None:
        self._server = server
        server.iam = self
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        if hasattr(self, "_server"):
            self._server.shutdown()
            self._server.server_close()

    # users

    def add(self, username: str, *groups: str, given: str = "", family: str = "", **more: Any) -> dict[str, Any]:
        self.ever += 1
        made = f"{datetime(2024, 1, 1, tzinfo=UTC) + timedelta(seconds=self.ever):%FT%T}.000Z"
        given, family = given or username.title(), family or "Example"
        user = {
            "id": str(uuid.uuid4()),
            "meta": {"created": made, "lastModified": made, "resourceType": "User"},
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User", EXTENSION],
            "userName": username,
            "displayName": username,
            "name": {"givenName": given, "familyName": family, "formatted": f"{given} {family}"},
            "active": True,
            "emails": [{"type": "work", "value": f"user{self.ever}@example.org", "primary": True}],
            EXTENSION: {"serviceAccount": False},
        }
        user["meta"]["location"] = f"{self.base}scim/Users/{user['id']}"
        self.users.append(user | more)
        for group in groups:
            self.join(username, group)
        return self.users[-1]

    def find(self, username: str) -> dict[str, Any]:
        return next(user for user in self.users if user["userName"] == username)

    def by_id(self, sub: str) -> dict[str, Any] | None:
        return next((user for user in self.users if user["id"] == sub), None)

    def remove(self, username: str) -> None:
        """All that came of their consent goes with them."""
        user = self.find(username)
        self.users.remove(user)
        self.grants.forget(user["id"])

    def expire(self, username: str, at: datetime | None) -> None:
        """An end time: seven days later a task suspends, 30 days later it deletes; until then nothing changes. §9."""
        if at is None:
            self.find(username)[EXTENSION].pop("endTime", None)
        else:
            self.find(username)[EXTENSION]["endTime"] = (
                at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            )

    # the policy of acceptable use

    def publish(self) -> None:
        """A new one: everybody has to sign."""
        self.aup = datetime.now(UTC)

    def sign(self, username: str) -> None:
        self.find(username)[EXTENSION]["aupSignatureTime"] = f"{datetime.now(UTC):%FT%T.%f}"[:-3] + "Z"

    def has_to_sign(self, user: dict[str, Any]) -> bool:
        if self.aup is None:
            return False
        signed = user[EXTENSION].get("aupSignatureTime")
        return not signed or datetime.fromisoformat(signed) < self.aup.replace(microsecond=self.aup.microsecond // 1000 * 1000)

    # groups, §7

    def group(self, name: str) -> dict[str, str]:
        uid = str(uuid.uuid5(uuid.NAMESPACE_URL, name))
        return {"display": name, "value": uid, "$ref": f"{self.base}scim/Groups/{uid}"}

    def join(self, username: str, name: str) -> None:
        """Adds all parents."""
        parts = name.split("/")
        wanted = ["/".join(parts[: end + 1]) for end in range(len(parts))]
        groups = self.find(username).setdefault("groups", [])
        groups += [self.group(one) for one in reversed(wanted) if one not in {group["display"] for group in groups}]

    def leave(self, username: str, name: str) -> None:
        """Removes from all children. Who has no group has no attribute `groups`."""
        user = self.find(username)
        kept = [one for one in user.get("groups", ()) if not f"{one['display']}/".startswith(f"{name}/")]
        user["groups"] = kept
        if not kept:
            del user["groups"]
