"""A program that speaks SCIM to the real service."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Any

from issuer import Answer, Service

from farmlet.runtime.oauth import obtain

USER, GROUP = "urn:ietf:params:scim:schemas:core:2.0:User", "urn:ietf:params:scim:schemas:core:2.0:Group"
OURS, INDIGO_USER = "urn:farmlet:scim:User", "urn:indigo-dc:scim:schemas:IndigoUser"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"


@dataclass
class Program:
    """`base`: where SCIM is mounted, `/scim/v2` or INDIGO's `/scim`."""

    service: Service
    token: str
    base: str = "/scim/v2"

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, **query: str) -> Answer:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        text = f"?{urllib.parse.urlencode(query)}" if query else ""
        given = {"Content-Type": "application/scim+json", **(headers or {})}
        given |= {"Authorization": f"Bearer {self.token}"} if self.token else {}
        return self.service.send(f"{self.base}{urllib.parse.quote(path)}{text}", data, method, 60, **given)

    def find(self, kind: str, text: str) -> list[dict[str, Any]]:
        answer = self.ask("GET", f"/{kind}", filter=text)
        assert answer.status == 200, answer
        found: list[dict[str, Any]] = answer.body["Resources"]
        assert len(found) == answer.body["totalResults"]
        return found

    def register(self, username: str, **attributes: Any) -> dict[str, Any]:
        answer = self.ask("POST", "/Users", {"schemas": [USER], "userName": username, **attributes})
        assert answer.status == 201, answer
        created: dict[str, Any] = answer.body
        return created

    def patch(self, path: str, *operations: dict[str, Any], headers: dict[str, str] | None = None) -> Answer:
        return self.ask("PATCH", path, {"schemas": [PATCH], "Operations": list(operations)}, headers)


def start(service: Service, name: str, scope: str) -> Program:
    """A client of that name with that scope, registered and with its token."""
    secret = service.register(name, "--grant=client_credentials", f"--scope={scope}")
    return Program(service, obtain(service.issuer, name, secret, scope, service.cafile).access_token)
