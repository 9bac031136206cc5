"""The demo's notebook: a server started from the member's browser, and the analysis run in it as the server's page would."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from farmlet.demo.browser import Browser, Page
from farmlet.demo.machine import Machine
from farmlet.demo.stage import Member
from farmlet.errors import FarmletError

NAME = "z-peak.ipynb"
PATIENCE = 180.0  # seconds for a server to start
TOKEN_SECONDS = 900


class Hub:
    """The Hub at `url`, as `member` who is at `browser`."""

    def __init__(self, url: str, browser: Browser, member: Member) -> None:
        self.url, self._browser, self._member = url.rstrip("/"), browser, member
        self.headers: dict[str, str] = {}
        self.server = f"{self.url}/user/{self._member.name}"  # of the member; once it runs, as the Hub says

    @property
    def token(self) -> str:
        """What opens it for a program."""
        return self.headers["Authorization"].partition(" ")[2]

    def log_in(self) -> Page:
        """The page on which a server is chosen, and from now on a token for programs."""
        page = self._browser.sign_in(self._browser.open(f"{self.url}/hub/spawn"), self._member.name, self._member.password)
        self.headers = {"Authorization": f"token {self._make_token()}"}
        return page

    def start(self, **wishes: str) -> None:
        """Log in, choose the smallest, wait until the server is there. `wishes`: what else is chosen. Raises FarmletError."""
        page = self.log_in()
        form = next((each for each in page.forms if "cores" in each.fields), None)
        if form is None:
            raise page.fail("no page to choose a server")
        page = self._browser.submit(page, form, {"cores": "1", "memory": "1", **wishes})
        end = time.monotonic() + PATIENCE
        while not (told := self._ask("GET", ""))["servers"].get("", {}).get("ready"):
            if not told["servers"]:
                raise page.fail("the server did not start")
            if time.monotonic() > end:
                raise FarmletError(self.server, f"was not ready after {PATIENCE:.0f} s", "farmlet logs head")
            time.sleep(0.3)
        self.server = str(told["servers"][""].get("full_url") or self.server).rstrip("/")

    def stop(self) -> None:
        """End it; a demo that failed tells of that, not of what came after."""
        with contextlib.suppress(FarmletError, OSError):
            self._ask("DELETE", "/server")

    def _make_token(self) -> str:
        """A token of the Hub's for programs, as the member has it from the Hub's page."""
        guard = next((cookie.value for cookie in self._browser.cookies if cookie.name == "_xsrf" and cookie.path == "/hub/"), "")
        wish = {"note": "farmlet demo", "expires_in": TOKEN_SECONDS}
        url = f"{self.url}/hub/api/users/{self._member.name}/tokens"
        return str(self._browser.call("POST", url, {"X-XSRFToken": str(guard)}, wish)["token"])

    def _ask(self, method: str, path: str) -> Any:
        return self._browser.call(method, f"{self.url}/hub/api/users/{self._member.name}{path}", self.headers)


def render_notebook(url: str) -> str:
    """The notebook, which reads the file at `url`."""
    return (files("farmlet.demo") / "analysis" / NAME).read_text().replace("@@url", url)


def run_notebook(hub: Hub, machine: Machine, folder: str, url: str) -> dict[str, Any]:
    """Run the analysis of the file at `url`; what the last cell printed. `folder`: in the member's home, with the analysis."""
    said = _run(hub, machine, folder, NAME, render_notebook(url))
    try:
        return dict(json.loads(said.strip().splitlines()[-1]))
    except (ValueError, IndexError) as error:
        raise FarmletError(hub.server, f"the notebook said: {said.strip()[-300:] or 'nothing'}") from error


def send_jobs(hub: Hub, machine: Machine, folder: str, names: Sequence[str]) -> str:
    """Submit these files of the folder from a cell; what condor_submit says."""
    cells: list[dict[str, Any]] = [
        {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": f"!condor_submit -terse {name}"}
        for name in names
    ]
    return _run(
        hub, machine, folder, "jobs.ipynb", json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 4})
    )


def _run(hub: Hub, machine: Machine, folder: str, name: str, text: str) -> str:
    """Run all cells in a kernel of the server; what they print."""
    machine.ssh(f"cat > {folder}/{name}", text.encode())
    stage = machine.stage
    script = (
        f"cd {folder} && cp {stage.bundle} authorities.pem && "
        'apptainer --quiet exec --containall --bind "$PWD:/work" --pwd /work --env SSL_CERT_FILE=/work/authorities.pem '
        f"{stage.image} python3 analysis/kernel.py {hub.server} {folder}/{name}"
    )
    return machine.ssh(script, f"{hub.token}\n".encode(), timeout=180)
