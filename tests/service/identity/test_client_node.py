"""npm's openid-client (certified by the OpenID Foundation) as a relying party."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import javascript
import pytest
from browser import Browser
from issuer import Service
from party import BACK

pytestmark = [pytest.mark.service, pytest.mark.once, pytest.mark.timeout(300)]
SCOPE = "openid profile offline_access storage.read:/"
Told = dict[str, Any]


@pytest.fixture(scope="module")
def noelle(service: Service) -> Browser:
    return service.join("noelle", "lab/production")[0]


@pytest.fixture(scope="module", autouse=True)
def clients(service: Service) -> None:
    grants = ("--grant=code,device,refresh", f"--redirect-uri={BACK}")
    service.do("client", "ensure", "node-public", "--public", *grants)
    service.register("node-web", *grants)
    service.register("node-es256", "--algorithm=ES256", *grants)


def run(service: Service, client: str, act: Callable[[Told], Told | None], **job: str) -> Told:
    """The last line of the client; `act` does the person's part and says what the client is to know of it."""
    secret = service.folder / f"{client}.secret"
    usual = {"issuer": service.issuer, "client": client, "scope": SCOPE, "back": BACK, "algorithm": "RS256"}
    held = {"secret": secret.read_text().strip()} if secret.exists() else {}
    with javascript.start("client.js", cafile=service.cafile) as process:
        javascript.tell(process, usual | held | job)
        assert process.stdout
        while line := process.stdout.readline():
            told: Told = json.loads(line)
            if "outcome" in told or "error" in told:
                return told
            if answer := act(told):
                javascript.tell(process, answer)
    raise AssertionError("the client ended without a word")


def visit(browser: Browser) -> Callable[[Told], Told]:
    """The person's part of a code: where they are sent back to."""

    def act(told: Told) -> Told:
        page = browser.open(told["url"])
        page = browser.submit(page, "allow") if page.status == 200 else page
        return {"back": page.headers["Location"]}

    return act


@pytest.mark.parametrize(("client", "algorithm"), [("node-public", "RS256"), ("node-web", "RS256"), ("node-es256", "ES256")])
def test_code(service: Service, noelle: Browser, client: str, algorithm: str) -> None:
    told = run(service, client, visit(noelle), algorithm=algorithm)
    assert "outcome" in told, told
    outcome = told["outcome"]
    assert outcome["person"]["preferred_username"] == outcome["claims"]["preferred_username"] == "noelle"
    assert outcome["renewed"]["sub"] == outcome["claims"]["sub"]
    assert client == "node-public" or outcome["told"]["active"] is True
    assert outcome["late"] == "invalid_grant"


def test_device_flow(service: Service, noelle: Browser) -> None:
    told = run(service, "node-public", lambda started: service.allow(noelle, started) and None, flow="device")
    assert told["outcome"]["person"]["preferred_username"] == "noelle"


def test_it_would_see_a_wrong_nonce_and_algorithm(service: Service, noelle: Browser) -> None:
    """The client checks: what is not as it asked is an error there."""
    assert "nonce" in run(service, "node-web", visit(noelle), nonce="another")["message"]
    assert "alg" in run(service, "node-web", visit(noelle), algorithm="ES256")["message"]
