"""The published description names every route that is no page, and no other."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import pytest

PAGES = {"authorize", "logout", "device", "device-done", "home", "login", "join", "style", "icon"}
# Django is set up once in a process, so the service's routes are read in one of their own
PROGRAM = """
import json, sys
from pathlib import Path
from farmlet.facility.rights import Table
from farmlet.parts.identity.service.django.configuration import parse
from farmlet.parts.identity.service.keys.keys import ensure_keys
from farmlet.parts.identity.service.django.project import start
folder = Path(sys.argv[1])
ensure_keys(folder / "keys")
values = {"issuer": "https://af.example.org", "title": "Example", "rights": Table({}).to_json(), "registration": sys.argv[2]}
files = {"database": folder / "db", "keys": folder / "keys", "secret_key_file": folder / "secret"}
start(parse(values | files, "test"), "-")
from farmlet.parts.identity.service.django import urls
from farmlet.parts.identity.service.openapi.document import describe
routes = [[one.name or "", str(one.pattern), one.pattern.regex.pattern] for one in urls.urlpatterns]
print(json.dumps([routes, describe("https://af.example.org", "Example", sys.argv[2] == "open")]))
"""


@pytest.fixture(scope="module", params=["open", "closed"])
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("openapi")
    run = subprocess.run([sys.executable, "-c", PROGRAM, folder, request.param], capture_output=True, text=True, check=True)
    return json.loads(run.stdout)


def test_every_route_is_described_and_nothing_else(told: Any) -> None:
    routes, document = told
    paths = {re.sub(r"\{\w+\}", "a1", path).removeprefix("/") for path in document["paths"]}
    pages = {pattern.strip("/") for name, pattern, _ in routes if name in PAGES}
    described = [re.compile(regex.replace(r"\Z", "$")) for _, pattern, regex in routes if pattern.strip("/") not in pages]
    assert len(described) > 10
    missing = [
        regex.pattern for regex in described if not any(regex.search(form) for path in paths for form in (path, path[:-1]))
    ]
    assert not missing
    assert not [path for path in paths if not any(regex.search(path) for regex in described)]


def test_whatever_it_refers_to_is_there(told: Any) -> None:
    document = told[1]
    names = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)))
    assert names == set(document["components"]["schemas"]) - ({"Program", "Registration"} - names)
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method != "parameters":
                assert operation["summary"] and operation["responses"], path
                assert {name for one in operation["security"] for name in one} <= set(document["components"]["securitySchemes"])
