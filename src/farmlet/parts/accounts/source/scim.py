"""Users by SCIM 2.0 (RFC 7644), read with a client's own token. Standard library only."""

from __future__ import annotations

import http.client
import json
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from farmlet.errors import FarmletError
from farmlet.runtime import oauth

SCOPE = "scim:read"
ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"
LIMIT = 32 << 20  # bytes of one answer


class Missing(FarmletError):
    """There is nobody of this id, as SCIM says it (RFC 7644 §3.12): a proxy's page that is not found says nothing of anybody."""


class Broken(FarmletError):
    """What is at this place cannot be told, though the server is well."""


class Reader:
    """What a client with the scope `scim:read` may read at `issuer`. `secret`: the file with the client's secret.

    The token (client credentials) is renewed as it ages. `cafile`: authorities (PEM), the system's if None.
    """

    def __init__(self, issuer: str, client: str, secret: Path, cafile: str | None = None) -> None:
        self.issuer, self._client, self._secret, self._cafile = issuer, client, secret, cafile
        self._token, self._until = "", 0.0
        self._context: ssl.SSLContext | None = None

    def users(self, path: str, count: int) -> list[dict[str, Any]]:
        """All users below `path`, `count` on a page (RFC 7644 §3.4.2.4); a server may give fewer.

        Raises FarmletError, also when the list changed under the reading so that somebody may have been missed.
        """
        found: dict[str, dict[str, Any]] = {}
        known: int | None = None  # how many there are, as the first page says; who goes meanwhile shifts the rest
        while True:
            page = self.get(path, startIndex=len(found) + 1, count=count)
            try:
                total, users = int(page["totalResults"]), list(page.get("Resources") or ())
                fresh = {str(user["id"]): user for user in users}
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise FarmletError(f"{self.issuer} {path}", f"is no list of SCIM users: {error!r}") from error
            twice = len(fresh) < len(users) or found.keys() & fresh.keys()
            if twice or total != (total if known is None else known) or (not users and len(found) < total):
                raise FarmletError(f"{self.issuer} {path}", "the list changed while it was read; it is read again")
            found, known = found | fresh, total
            if len(found) >= total:
                return list(found.values())

    def has(self, path: str, sub: str) -> bool:
        """Whether there is a user of this id below `path`. Raises FarmletError where that cannot be told."""
        try:
            self.get(f"{path}/{urllib.parse.quote(sub, safe='')}")
        except Missing:
            return False
        return True

    def get(self, path: str, timeout: float = 15, **query: int) -> dict[str, Any]:
        """A JSON object below the issuer. Raises FarmletError, of which Missing for SCIM's 404 and Broken for 500."""
        url = f"{self.issuer.rstrip('/')}{path}?{urllib.parse.urlencode(query)}"
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {self._current(timeout)}"})
        request.add_header("Accept", "application/scim+json, application/json")
        try:
            # a twentieth of a second, which a list of many pages would take for each
            self._context = self._context or ssl.create_default_context(cafile=self._cafile)
            with urllib.request.urlopen(request, timeout=timeout, context=self._context) as answer:
                loaded = json.loads(answer.read(LIMIT))
        except urllib.error.HTTPError as error:
            if error.code == 404 and is_scim(error):
                raise Missing(url, "is not there") from error
            if error.code == 401:
                self._token = ""  # perhaps the signing key was rotated: the next try asks for a new one
            raise (Broken if error.code == 500 else FarmletError)(url, f"answers {error.code}") from error
        except (OSError, ValueError, RecursionError, http.client.HTTPException) as error:
            self._context = None  # perhaps there are other authorities now
            raise FarmletError(url, f"{getattr(error, 'reason', error)}") from error
        if not isinstance(loaded, dict):
            raise FarmletError(url, "the answer is not a JSON object")
        return loaded

    def _current(self, timeout: float) -> str:
        if not self._token or time.monotonic() > self._until:
            secret, most = self._load(), min(timeout, oauth.TIMEOUT)
            tokens = oauth.obtain(self.issuer, self._client, secret, SCOPE, self._cafile, timeout=most)
            self._token, self._until = tokens.access_token, time.monotonic() + tokens.expires_in / 2
        return self._token

    def _load(self) -> str:
        try:
            secret = self._secret.read_text().strip()
        except OSError as error:
            raise FarmletError(str(self._secret), f"the secret of the client {self._client}: {error.strerror}") from error
        if not secret:
            raise FarmletError(str(self._secret), "is empty", f"put the secret of the client {self._client} there")
        return secret


def is_scim(error: urllib.error.HTTPError) -> bool:
    """Whether an error's body is SCIM's own."""
    try:
        return ERROR in json.loads(error.read(LIMIT))["schemas"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError, http.client.HTTPException):
        return False
