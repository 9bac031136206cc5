"""Break-glass: what it gives, what it never gives, and who hears of it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from browser import Browser
from issuer import Service, claims
from warm import Console

from farmlet.parts.identity.checks import check_audit
from farmlet.runtime import audit

pytestmark = pytest.mark.service
TAKE = ("token", "--as=gerd", "--scope=openid offline_access storage.read:/", "--by=ada")


@pytest.fixture(scope="module")
def gerd(service: Service) -> Browser:
    return service.join("gerd")[0]


@pytest.fixture(scope="module")
def token(service: Service, gerd: Browser) -> dict[str, Any]:
    write = service.do(*TAKE, "--reason=<b>lost</b> upload", "--audience=https://se.example.org").strip()
    return claims(write)


def test_a_short_token_that_names_who_took_it(token: dict[str, Any]) -> None:
    assert token["act"] == {"sub": "ada"} and token["preferred_username"] == "gerd"
    assert token["scope"].split() == ["openid", "storage.read:/"]  # no refresh
    assert token["exp"] - time.time() <= 900


def test_the_audit_log_has_it_all(service: Service, token: dict[str, Any], tmp_path: Path) -> None:
    line = next(line for line in audit.find(service.folder / "db" / "audit.log", "token.minted") if line["jti"] == token["jti"])
    assert (line["by"], line["member"], line["reason"]) == ("ada", "gerd", "<b>lost</b> upload")
    assert line["scopes"] == ["openid", "storage.read:/"] and line["audience"] == "https://se.example.org"
    lines = service.member("history", "gerd")
    assert "token.minted" in [line["event"] for line in lines]
    told = check_audit(str(service.folder / "db" / "audit.log"), str(tmp_path / "identity.json"))  # what `farmlet status` shows
    assert "break-glass in 7 days: " in told


def test_the_member_and_the_administrators_are_told(service: Service, gerd: Browser, token: dict[str, Any]) -> None:
    page = gerd.open(f"{service.issuer}/")
    assert "ada took a token in your name" in page.text
    assert "&lt;b&gt;lost&lt;/b&gt; upload" in page.text and "<b>lost" not in page.text
    _, page = service.join("berta", "board")
    assert "ada took a token in the name of <code>gerd</code>" in page.text
    _, page = service.join("willi")
    assert "took a token" not in page.text


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--reason= ",), "reason"),
        (("--reason=x", "--audience=ssh"), "opens a log-in"),
        (("--reason=x", "--audience=https://se.example.org ssh"), "opens a log-in"),
        (("--reason=x", "--audience=ssh_head.farmlet.test"), "opens a log-in"),
        (("--reason=x", "--scope=offline_access"), "may have none of these"),
        ((), "required: --reason"),
    ],
)
def test_refusals(service: Service, gerd: Browser, words: tuple[str, ...], told: str) -> None:
    before = audit.verify(service.folder / "db" / "audit.log")
    done = service.run(*TAKE, *words)
    assert done.returncode == 2 and told in done.stderr and done.stdout == ""
    assert audit.verify(service.folder / "db" / "audit.log") == before


def test_no_token_for_who_is_not_active(service: Service) -> None:
    service.do("member", "add", "sulamith", "--group=lab", "--pending")
    for verb in ("approve", "suspend"):
        service.do("member", verb, "sulamith")
    refused = service.run("token", "--as=sulamith", "--scope=openid", "--reason=x", "--by=ada")
    assert refused.returncode == 2 and "is suspended" in refused.stderr


def test_without_the_log_there_is_no_token(service: Service, gerd: Browser) -> None:
    config = json.loads(service.config.read_text())
    broken = service.folder / "broken.json"
    broken.write_text(json.dumps(config | {"audit": str(service.folder / "nowhere" / "audit.log")}))
    console = Console(broken)
    done = console.run(arguments=[*TAKE, "--reason=x"])
    console.close()
    assert done.returncode == 1 and done.stdout == ""
