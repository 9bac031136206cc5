"""JupyterHub with its GenericOAuthenticator: who may use it is decided by the groups that the service tells."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Browser, Page
from issuer import Service

from waiting import find_port

pytestmark = [pytest.mark.service, pytest.mark.once, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def hub(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running JupyterHub."""
    folder, port = tmp_path_factory.mktemp("hub"), find_port()
    back = f"--redirect-uri=http://127.0.0.1:{port}/hub/oauth_callback"
    secret = service.register("hub", "--grant=code", back)
    given = {"port": port, "issuer": service.issuer, "secret": secret, "ca": service.cafile}
    (folder / "hub.json").write_text(json.dumps(given))
    command = [sys.executable, "-m", "jupyterhub", "--config", str(Path(__file__).with_name("hub.py"))]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=folder, stdout=log, stderr=log, env=os.environ | {"HUB": str(folder / "hub.json")}
        )
    url, deadline = f"http://127.0.0.1:{port}/hub", time.monotonic() + 60
    try:
        while not answers(f"{url}/health", service.cafile):
            assert process.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()[-3000:]
            time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait(20)


def answers(url: str, cafile: str) -> bool:
    try:
        return Browser(cafile).open(url).status == 200
    except OSError:
        return False


def sign_in(browser: Browser, hub: str) -> Page:
    """From the hub's door by the service and back, as a browser goes."""
    page = browser.open(f"{hub}/oauth_login?next=%2Fhub%2Fhome")
    assert page.status == 302, page.text
    page = browser.open(page.headers["Location"])
    if page.status == 200 and page.forms and any(value == "allow" for _, value in page.forms[0].buttons):
        page = browser.submit(page, "allow")
    return browser.open(page.headers["Location"]) if page.status in (302, 303) else page


def test_members_of_the_group_are_let_in_by_their_names(service: Service, hub: str) -> None:
    browser = service.join("hubert", "lab/production")[0]
    assert sign_in(browser, hub).status == 200
    home = browser.open(f"{hub}/home")
    assert home.status == 200 and "hubert" in home.text
    assert "/hub/admin" in home.text  # by their group


def test_who_is_in_no_group_of_the_hub_stays_outside(service: Service, hub: str) -> None:
    browser = service.join("gustav", "guests")[0]
    assert sign_in(browser, hub).status == 403


def test_suspended_nobody_is_let_in(service: Service, hub: str) -> None:
    browser = service.join("helga", "lab")[0]
    assert sign_in(browser, hub).status == 200 and "/hub/admin" not in browser.open(f"{hub}/home").text
    service.do("member", "suspend", "helga")
    page = sign_in(browser, hub)
    assert not page.url.startswith(hub), "the service lets the hub have no code"


def test_a_code_that_was_made_up_is_refused_by_the_hub(service: Service, hub: str) -> None:
    browser = Browser(service.cafile)
    browser.open(f"{hub}/oauth_login")
    assert browser.open(f"{hub}/oauth_callback?code=x&state=y").status in (400, 403)
