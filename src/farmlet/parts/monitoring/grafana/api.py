"""Grafana's HTTP API, and in words what it refuses. Standard library only.

Source: Grafana's documentation, HTTP API (health, folder, data source, dashboard, organization, SSO settings).
"""

from __future__ import annotations

import base64
import json
import re
import ssl
from collections.abc import Mapping
from functools import cached_property
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from farmlet.errors import FarmletError
from farmlet.runtime.issuer.conceal import conceal

SECONDS = 10  # for one request
LIMIT = 1 << 23  # bytes of one answer


class Refused(FarmletError):
    """Grafana answers, and what is asked of it does not come about. `status`: of HTTP."""

    def __init__(self, where: str, what: str, hint: str = "", status: int = 0) -> None:
        super().__init__(where, what, hint)
        self.status = status


class Unusable(FarmletError):
    """Nothing else need be asked: it is away, is no Grafana, or does not know the token."""


class Grafana:
    """`url`: as people open it. The `token` goes there and nowhere else, wherever an answer points; with `user` it is that one's
    password."""

    def __init__(self, url: str, token: str, user: str = "") -> None:
        self.url, self._token, self._user = url, token, user

    @property
    def _who(self) -> str:
        if not self._user:
            return f"Bearer {self._token}"
        return "Basic " + base64.b64encode(f"{self._user}:{self._token}".encode()).decode()

    @cached_property
    def _trust(self) -> ssl.SSLContext:
        """Whom the system trusts; to read them takes longer than a request."""
        return ssl.create_default_context()

    def find(self, path: str) -> Any:
        """What is there, None where nothing is."""
        try:
            return self.ask("GET", path)
        except Refused as refused:
            if refused.status == 404:
                return None
            raise

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The JSON of a good answer. Raises Refused, Unusable."""
        status, data, moved = self._send(method, path, body)
        try:
            found = json.loads(data)
        except (ValueError, RecursionError):
            found = None
        if status == 200 and found is not None:
            return found
        if moved:
            raise Unusable(self.url, f"sends elsewhere, to {conceal(moved)}", "name the URL that people see in the end")
        if status == 401:
            raise Unusable(self.url, "does not know the token, or it has ended", "make a new one for the service account")
        if found is None:
            raise Unusable(self.url, f"answers {method} {path} with {status} and no JSON: is it a Grafana?")
        raise explain(f"{method} {path}", status, found if isinstance(found, dict) else {})

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None) -> tuple[int, bytes, str]:
        if not re.fullmatch("[!-~]+", self._token):
            raise Unusable("its token", "is not there, or is none", "put that of its service account into the file")
        to = urlsplit(self.url)
        if to.scheme == "https":
            connection: HTTPConnection = HTTPSConnection(to.netloc, timeout=SECONDS, context=self._trust)
        else:  # never by the facility file
            connection = HTTPConnection(to.netloc, timeout=SECONDS)
        headers = {"Authorization": self._who, "Accept": "application/json", "Content-Type": "application/json"}
        try:
            connection.request(method, f"{to.path}{path}", json.dumps(body) if body is not None else None, headers)
            answer = connection.getresponse()
            return answer.status, answer.read(LIMIT), answer.getheader("Location", "") if 300 <= answer.status < 400 else ""
        except (OSError, HTTPException) as error:
            raise Unusable(self.url, f"does not answer: {error or type(error).__name__}") from error
        finally:
            connection.close()


def explain(asked: str, status: int, answer: Mapping[str, Any]) -> Refused:
    said = conceal(str(answer.get("message") or answer.get("error") or "no reason"))
    if status == 403:
        hint = "give the service account the role Admin" if "read-only" not in said else ""
        return Refused(asked, f"is forbidden: {said}", hint, status)
    return Refused(asked, f"ends with {status}: {said}", "", status)
