"""The real identity service, the real SSH authority behind gunicorn with TLS, and a real sshd, all on loopback."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from door import Authority, Sshd
from issuer import Service, found
from machine import Machine

# A test run started in the background ignores interrupts, and so would all it starts: some tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with found(tmp_path_factory.mktemp("identity")) as running:
        yield running


@pytest.fixture(scope="session")
def authority(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Authority]:
    with Authority(service, tmp_path_factory.mktemp("authority")) as found:
        yield found


@pytest.fixture(scope="session")
def sshd(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with Sshd(authority, tmp_path_factory.mktemp("sshd")) as found:
        yield found


@pytest.fixture
def machine(authority: Authority, tmp_path: Path) -> Machine:
    """A member's machine on which nobody has logged in yet."""
    return Machine(tmp_path / "home", authority)


@pytest.fixture(scope="session")
def ada(service: Service) -> object:
    """The browser of a member, signed in."""
    browser, page = service.join("ada", "lab")
    assert page.status == 200
    return browser
