"""One identity service for all tests of this folder: once with SQLite, once with a real PostgreSQL.

A test marked `once` (what it looks at does not depend on the database, or it takes long) runs with SQLite only.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import postgres
import pytest
from back import listen
from chromium import Open, Window, launch
from issuer import Service, found
from party import Party
from playwright.sync_api import Browser

from indigo import Iam


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


@pytest.fixture(scope="session")
def back() -> Iterator[str]:
    with listen() as address:
        yield address


@pytest.fixture(scope="session")
def gallery(service: Service, back: str) -> Party:
    """A relying party that everybody is asked about, and dagmar, a member."""
    grants = ("--grant=code,device,refresh", f"--redirect-uri={back}/back", f"--post-logout-uri={back}/bye")
    service.do("client", "ensure", "gallery", "--name", "Plot gallery", "--public", *grants)
    service.join("dagmar", "lab/production")
    return Party(service, "gallery", back=f"{back}/back")


@pytest.fixture(scope="module")  # while it runs, asyncio would have no other loop beside Playwright's
def chromium() -> Iterator[Browser]:
    with launch() as running:
        yield running


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pictures of the pages go: $FARMLET_SCREENSHOTS, else a temporary folder."""
    named = os.environ.get("FARMLET_SCREENSHOTS")
    folder = Path(named) if named else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def open_window(chromium: Browser, service: Service, gallery: Party, back: str, pictures: Path) -> Iterator[Open]:
    """Opens a window of a person, logged in if they are named. In the end none may have had a fault."""
    windows: list[Window] = []

    def show(name: str = "", javascript: bool = True) -> Window:
        context = chromium.new_context(ignore_https_errors=True, java_script_enabled=javascript, locale="en-GB")
        context.set_default_timeout(90_000)
        windows.append(Window(context.new_page(), pictures, service.issuer, back))
        if name:
            windows[-1].open(f"{service.issuer}/login/")
            windows[-1].log_in(name)
        return windows[-1]

    yield show
    for window in windows:
        window.page.context.close()
        assert not window.faults, window.faults
