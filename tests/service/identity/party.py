"""A relying party: what a program that logs people in by authorization code does."""

from __future__ import annotations

import base64
import hashlib
import secrets
import urllib.parse
from dataclasses import dataclass, field

from browser import Browser, Page
from issuer import PASSWORD, Answer, Service

BACK = "https://client.example.org/back"
SCOPE = "openid offline_access storage.read:/"
WIDE = "openid profile offline_access wlcg.groups storage.read:/ storage.modify:/"


@dataclass
class Party:
    service: Service
    client: str
    secret: str = ""
    back: str = BACK
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(48))

    def url(self, **changes: str | None) -> str:
        """The authorization request; a change to None leaves the parameter out."""
        challenge = base64.urlsafe_b64encode(hashlib.sha256(self.verifier.encode()).digest()).decode().rstrip("=")
        usual: dict[str, str | None] = {
            "response_type": "code",
            "client_id": self.client,
            "redirect_uri": self.back,
            "scope": SCOPE,
            "state": "st/ate &1",
            "nonce": "n-0S6",
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        query = {name: value for name, value in {**usual, **changes}.items() if value is not None}
        return f"{self.service.issuer}/authorize?{urllib.parse.urlencode(query)}"

    def ask(self, browser: Browser, button: str = "allow", **changes: str | None) -> dict[str, str]:
        """What comes back to the party when the person says yes (or presses another button)."""
        page = browser.open(self.url(**changes))
        if page.status == 200:
            page = browser.submit(page, button)
        return read_back(page, self.back)

    def redeem(self, code: str, **changes: str | None) -> Answer:
        usual: dict[str, str | None] = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.back,
            "code_verifier": self.verifier,
            "client_id": None if self.secret else self.client,
        }
        form = {name: value for name, value in {**usual, **changes}.items() if value is not None}
        return self.service.request("/token", form, basic=f"{self.client}:{self.secret}" if self.secret else "")


def read_back(page: Page, back: str) -> dict[str, str]:
    """The parameters of a redirect to `back`."""
    assert page.status == 303, (page.status, page.text)
    target, _, query = page.headers["Location"].partition("?")
    assert target == back, page.headers["Location"]
    return dict(urllib.parse.parse_qsl(query, strict_parsing=True))


def log_in(browser: Browser, page: Page, name: str) -> Page:
    """Fill in the log-in form that the page is."""
    return browser.submit(page, username=name, password=PASSWORD)
