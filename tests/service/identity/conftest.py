"""One identity service for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from iam import Iam
from issuer import Service, find_port, serve, write_certificate, write_config


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("identity")
    port = find_port()
    running = Service(f"https://localhost:{port}", folder, str(folder / "tls.crt"))
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


@pytest.fixture
def iam() -> Iterator[Iam]:
    """A stand-in for an INDIGO IAM that knows nobody yet."""
    running = Iam()
    yield running
    running.close()
