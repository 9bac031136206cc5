"""What `farmlet client` does: clients seen, set and ended, by the tokens they get."""

from __future__ import annotations

import json
from typing import Any

import pytest
from browser import Browser
from issuer import Service

pytestmark = pytest.mark.service
ASK = {"grant_type": "client_credentials"}


def call(service: Service, *words: str) -> Any:
    return json.loads(service.do("client", *words, "--by=ada"))


def take(service: Service, name: str, secret: str, scope: str) -> tuple[int, str]:
    answer = service.token(ASK | {"scope": scope}, f"{name}:{secret}")
    return answer.status, answer.body.get("scope", answer.body.get("error"))


def test_a_client_is_set_changed_and_ended(service: Service) -> None:
    made = call(service, "set", "database", "--name=The database", "--grant=client_credentials", "--scope=scim:read")
    secret = made.pop("client_secret")
    assert made["of"] == "admin" and made["public"] is False and made["name"] == "The database" and made["used"] is None
    assert take(service, "database", secret, "scim:read") == (200, "scim:read")
    changed = call(service, "set", "database", "--scope=scim:read scim:write")
    assert "client_secret" not in changed and changed["grants"] == made["grants"] and changed["name"] == made["name"]
    assert changed["scopes"] == ["scim:read", "scim:write"] and changed["used"]
    renewed = call(service, "set", "database", "--renew")["client_secret"]
    assert renewed != secret and take(service, "database", renewed, "scim:write")[0] == 200
    assert call(service, "show", "database")["scopes"] == ["scim:read", "scim:write"]
    assert call(service, "remove", "database")["client_id"] == "database"
    gone = service.run("client", "show", "database")
    assert gone.returncode == 2 and "client database: no such client" in gone.stderr and "farmlet client list" in gone.stderr
    assert "database" not in [one["client_id"] for one in call(service, "list")]


def test_what_members_allowed_ends_with_it(service: Service) -> None:
    assert call(service, "set", "laptop", "--public")["public"] is True
    browser: Browser = service.join("carla")[0]
    answer = service.connect(browser, "laptop")
    assert call(service, "show", "laptop")["connections"] == 1
    call(service, "remove", "laptop")
    assert service.refresh(answer["refresh_token"], "laptop").status in (400, 401)
    history = service.folder / "db" / "audit.log"
    lines = [json.loads(line) for line in history.read_text().splitlines()]
    assert [line["by"] for line in lines if line["event"] == "client.ended" and line["client"] == "laptop"] == ["ada"]


def test_who_may_be_changed(service: Service) -> None:
    """Not the facility's own, which `up` makes, nor service members', which their verbs change."""
    service.do("member", "add", "crawler", "--service", "--owner=lab", "--group=lab")
    rows = {one["client_id"]: one for one in call(service, "list")}
    assert rows["farmlet"]["of"] == "facility" and rows["service-crawler"]["of"] == "service member crawler"
    for words in (("set", "farmlet", "--trusted"), ("remove", "farmlet")):
        done = service.run("client", *words)
        assert done.returncode == 2 and "client farmlet: is the facility's own" in done.stderr
    for verb in ("set", "remove"):
        done = service.run("client", verb, "service-crawler")
        assert done.returncode == 2 and "service member crawler" in done.stderr and "farmlet user " in done.stderr


def test_one_that_registered_itself_is_seen_and_can_be_ended(service: Service) -> None:
    asked = {"client_name": "oidc-agent", "grant_types": ["refresh_token", "urn:ietf:params:oauth:grant-type:device_code"]}
    service.python(
        "from farmlet.parts.identity.service.clients import applicant, registration\n"
        "from farmlet.parts.identity.service.django.project import provider\n"
        f"registration.register(provider(), applicant.validate({asked!r}), '192.0.2.1')"
    )
    (found,) = [one for one in call(service, "list") if one["name"] == "oidc-agent"]
    assert found["of"] == "itself"
    refused = service.run("client", "set", found["client_id"], "--trusted")
    assert refused.returncode == 2 and "registered itself" in refused.stderr
    call(service, "remove", found["client_id"])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--grant=code",), "--redirect-uri"),
        (("--public", "--trusted"), "--trusted"),
        (("--public", "--grant=client_credentials"), "--grant"),
        (("--algorithm=none",), "--algorithm"),
        (("--grant=client_credentials",), "scopes are missing"),
        (("--access-lifetime=-1",), "--access-lifetime"),
    ],
)
def test_what_cannot_be(service: Service, words: tuple[str, ...], told: str) -> None:
    done = service.run("client", "set", "impossible", *words)
    assert done.returncode == 2 and told in done.stderr and "Traceback" not in done.stderr
