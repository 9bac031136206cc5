"""schemathesis reads `/openapi.json` and tries everything that stands there, and much that does not, on the real service.

It gets a service of its own: what it registers, changes and removes is nobody else's.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from issuer import Service, claims, found
from scim import start

pytestmark = [pytest.mark.service, pytest.mark.once]
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "ignored_auth",
)
OAUTH, SCIM = ("--exclude-path-regex", "^/scim"), ("--include-path-regex", "^/scim/(v2/|Users)")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with found(tmp_path_factory.mktemp("openapi")) as running:
        yield running


def examine(service: Service, folder: Path, *options: str) -> None:
    """What schemathesis says. A seed, so that it says the same tomorrow."""
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{service.issuer}/openapi.json", "--seed=1"]
    usual = ["--tls-verify", service.cafile, "--suppress-health-check=all", "--no-shrink", f"--checks={','.join(CHECKS)}"]
    limits = ["--phases=examples,coverage,fuzzing", "--warnings=off", "--request-timeout=10"]
    run = subprocess.run([*command, *usual, *limits, *options], cwd=folder, capture_output=True, text=True, timeout=110)
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]


@pytest.mark.parametrize("paths", [OAUTH, SCIM], ids=["oauth", "scim"])
def test_without_a_token(own: Service, tmp_path: Path, paths: tuple[str, str]) -> None:
    examine(own, tmp_path, *paths, "--max-examples=4")


def test_with_a_members_token(own: Service, tmp_path: Path) -> None:
    browser, _ = own.join("greta")
    token = own.connect(browser, scope="openid profile storage.read:/")["access_token"]
    examine(
        own,
        tmp_path,
        "--include-path-regex",
        "userinfo|v2/(Me|changes)",
        "--max-examples=10",
        "--header",
        f"Authorization: Bearer {token}",
    )


def test_with_a_clients_secret(own: Service, tmp_path: Path) -> None:
    paths = ("--include-path-regex", "token|device|introspect|revoke")
    examine(own, tmp_path, *paths, "--auth", own.basic("accounts"), "--max-examples=15")


def test_with_a_programs_token(own: Service, tmp_path: Path) -> None:
    program = start(own, "tester", "scim:read scim:write")
    assert claims(program.token)["scope"] == "scim:read scim:write"
    examine(own, tmp_path, *SCIM, "--max-examples=6", "--header", f"Authorization: Bearer {program.token}")


def test_the_document_names_this_service(own: Service) -> None:
    document = own.request("/openapi.json").body
    assert document["servers"] == [{"url": own.issuer}] and document["openapi"].startswith("3.1")
    assert "/register/" in document["paths"] and "$ref" in json.dumps(document)
