"""The database as the facility file names it, and as Django is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from farmlet.errors import InputError
from farmlet.parts.identity.config import Section
from farmlet.parts.identity.deploy import PART
from farmlet.parts.identity.service.django.configuration import parse
from farmlet.parts.identity.service.django.databases import describe
from farmlet.parts.part import Context
from farmlet.parts.resources import File

URL = "postgresql://farmlet@db.example.org/farmlet"


def test_the_url_reaches_the_service(make_context: Callable[..., Context]) -> None:
    resources = PART.role("provider").configure(make_context("service", f"identity: {{database: '{URL}'}}\n"))
    text = next(str(item.content) for item in resources if isinstance(item, File) and item.path.endswith("identity.json"))
    found = parse(json.loads(text), "identity.json")
    assert found.database == URL and found.passfile == Path("/etc/farmlet/identity.pgpass")
    assert found.audit == Path("/var/lib/farmlet/identity/audit.log")


def test_a_database_elsewhere_is_verified() -> None:
    found = describe(f"{URL}?connect_timeout=3", Path("/pass"))
    assert (found["NAME"], found["USER"], found["HOST"]) == ("farmlet", "farmlet", "db.example.org")
    assert found["OPTIONS"]["sslmode"] == "verify-full" and found["OPTIONS"]["passfile"] == "/pass"
    assert found["OPTIONS"]["connect_timeout"] == "3"
    assert describe(f"{URL}?sslmode=require", None)["OPTIONS"]["sslmode"] == "require"
    assert "sslmode" not in describe("postgresql:///farmlet", None)["OPTIONS"]
    assert "sslmode" not in describe("postgresql://farmlet@/farmlet?host=/run/postgresql", None)["OPTIONS"]
    with pytest.raises(InputError, match="database"):
        describe(f"{URL}?nonsense=1", None)


@pytest.mark.parametrize(
    "value",
    ["mysql://db/x", "postgresql://db.example.org", "postgresql://u:secret@db/x", f"{URL}?password=secret", "", "db.sqlite3"],
)
def test_urls_that_do_not_work_are_refused(value: str) -> None:
    with pytest.raises(ValidationError) as error:
        Section(database=value)
    assert "secret" not in str(error.value.errors(include_input=False))
