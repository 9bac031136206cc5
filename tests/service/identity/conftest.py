"""One identity service for all tests of this folder: once with SQLite, once with a real PostgreSQL.

A test marked `once` (what it looks at does not depend on the database, or it takes long) runs with SQLite only.
"""

from __future__ import annotations

from collections.abc import Iterator

import postgres
import pytest
from iam import Iam
from issuer import Service, find_port, serve, write_certificate, write_config


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
    folder = tmp_path_factory.mktemp("identity")
    port = find_port()
    database = request.getfixturevalue("server").create("farmlet") if getattr(request, "param", "sqlite") == "postgresql" else ""
    running = Service(f"https://localhost:{port}", folder, str(folder / "tls.crt"), database)
    write_certificate(folder)
    write_config(running)
    running.do("migrate")
    running.do("keys", "ensure")
    running.do("groups", "ensure")
    running.do("client", "ensure", "farmlet", "--public", "--name", "Farmlet command", "--grant=device", "--grant=refresh")
    limits = ("--scope=openid offline_access storage.read:/ storage.modify:/", "--audience=https://wlcg.cern.ch/jwt/v1/any")
    running.do("client", "ensure", "batch", "--public", "--grant=device,refresh", *limits)
    secret = ("--secret-file", str(folder / "accounts.secret"))
    running.do("client", "ensure", "accounts", "--grant=client_credentials", "--scope=scim:read", *secret)
    tls = ("--certfile", running.cafile, "--keyfile", str(folder / "tls.key"))
    with serve(running, f"127.0.0.1:{port}", *tls):
        yield running
    running.console.close()


@pytest.fixture
def iam() -> Iterator[Iam]:
    """A stand-in for an INDIGO IAM that knows nobody yet."""
    running = Iam()
    yield running
    running.close()
