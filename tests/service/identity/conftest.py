"""One identity service for all tests of this folder: once with SQLite, once with a real PostgreSQL.

A test marked `once` (what it looks at does not depend on the database, or it takes long) runs with SQLite only.
"""

from __future__ import annotations

from collections.abc import Iterator

import postgres
import pytest
from iam import Iam
from issuer import Service, found


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    chosen = [mark for mark in metafunc.definition.iter_markers("parametrize") if mark.args[0] == "service"]
    if "service" in metafunc.fixturenames and not chosen:
        once = metafunc.definition.get_closest_marker("once")
        metafunc.parametrize("service", ["sqlite"] if once else ["sqlite", "postgresql"], indirect=True, scope="session")


@pytest.fixture(scope="session")
def server() -> Iterator[postgres.Server]:
    with postgres.serve() as running:
        yield running


@pytest.fixture(scope="session")
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    database = request.getfixturevalue("server").create("farmlet") if getattr(request, "param", "sqlite") == "postgresql" else ""
    with found(tmp_path_factory.mktemp("identity"), database) as running:
        yield running


@pytest.fixture
def iam() -> Iterator[Iam]:
    """A stand-in for an INDIGO IAM that knows nobody yet."""
    running = Iam()
    yield running
    running.close()
