"""Storage elements as programs see them: HTTP by the standard library, so that paths and connections are as the test says."""

from __future__ import annotations

import http.client
import os
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sandbox import Sandbox

DATA = "/srv/farmlet/storage"


@dataclass(frozen=True)
class Answer:
    """`headers`: names in lower case. Of a copy (`COPY`) the last line of the body decides, whatever the status is."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def copied(self) -> bool:
        return self.status in (201, 202) and self.body.decode().strip().splitlines()[-1].startswith("success")


@dataclass(frozen=True)
class Element:
    """The element at `host`; `ca`: PEM file of whom it is trusted by."""

    host: str
    ca: str
    port: int = 8443

    @property
    def url(self) -> str:
        return f"https://{self.host}:{self.port}"

    def connect(self, seconds: float = 60) -> http.client.HTTPSConnection:
        context = ssl.create_default_context(cafile=self.ca)
        return http.client.HTTPSConnection(self.host, self.port, timeout=seconds, context=context)

    def ask(
        self,
        method: str,
        path: str,
        token: str = "",
        body: bytes | Iterable[bytes] | None = None,
        headers: dict[str, str] | None = None,
        on: http.client.HTTPSConnection | None = None,
        seconds: float = 60,
    ) -> Answer:
        """One request, on a connection of its own or the one given; the path goes as it is written."""
        connection = on or self.connect(seconds)
        bearer = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            connection.request(method, path, body=body, headers=bearer | (headers or {}))
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, found, answer.read())
        finally:
            if on is None:
                connection.close()

    def answers(self) -> bool:
        """Whether it is there, and lets nobody in without a token."""
        try:
            return self.get("/", "") == 403
        except OSError:
            return False

    def put(self, path: str, token: str, body: bytes) -> int:
        return self.ask("PUT", path, token, body).status

    def get(self, path: str, token: str) -> int:
        return self.ask("GET", path, token).status


def find(sandbox: Sandbox) -> tuple[Element, Element]:
    """The facility's own element and the stand-in site's, with whom a member's machine trusts."""
    bundle = Path(sandbox.folder) / f"authorities-{os.getpid()}.pem"
    theirs = sandbox.exec("head", "cat /usr/local/share/ca-certificates/farmlet-site-tier1.crt")
    bundle.write_text(Path(sandbox.ca).read_text() + theirs + "\n")
    return Element(f"head.{sandbox.domain}", str(bundle)), Element(f"tier1.sites.{sandbox.domain}", str(bundle))
