"""oidc-agent as people use it: it registers itself, a member allows it, programs ask it for tokens again and again."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from browser import Browser
from issuer import ANY, ELEMENTS, Service, claims

pytestmark = [pytest.mark.service, pytest.mark.once]
SCOPE = "openid profile offline_access wlcg.groups storage.read:/ storage.modify:/users/agneta"
ELEMENT, NODE = ELEMENTS[0], "ssh_head.example.org"


@dataclass
class Agent:
    """A running oidc-agent with a home of its own; what it keeps is encrypted with a password out of a file."""

    service: Service
    home: Path
    socket: str

    @property
    def environment(self) -> dict[str, str]:
        return agent_environment(self.home) | {"OIDC_SOCK": self.socket}

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60)

    def do(self, *command: str) -> str:
        done = self.run(*command)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout.strip()

    def token(self, *options: str) -> str:
        return self.do("oidc-token", *options, "agneta")

    def generate(self, browser: Browser, name: str = "agneta", *options: str) -> str:
        """`oidc-gen`, by registration and device flow; its output."""
        command = ["oidc-gen", name, f"--iss={self.service.issuer}", "--flow=device", f"--scope={SCOPE}", *options]
        command += [f"--cp={self.service.cafile}", f"--pw-file={self.home / 'password'}"]
        command += ["--prompt=none", "--no-url-call", "--confirm-default"]
        path = self.home / "gen.log"
        with path.open("w") as log:
            process = subprocess.Popen(command, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            allow(self.service, browser, wait_for_code(process, path))
            assert process.wait(60) == 0, path.read_text()
        finally:
            process.kill()
            process.wait()
        return path.read_text()


def agent_environment(home: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return {**kept, "HOME": str(home), "TMPDIR": str(home), "OIDC_CONFIG_DIR": str(home / "configuration")}


def wait_for_code(process: subprocess.Popen[bytes], path: Path) -> str:
    deadline = time.monotonic() + 30
    while True:
        text = path.read_text()
        if found := re.search(r"enter the code:\s*(\S+)", text):
            return found[1]
        assert process.poll() is None and time.monotonic() < deadline, text
        time.sleep(0.1)


def allow(service: Service, browser: Browser, code: str) -> None:
    page = browser.open(f"{service.issuer}/device/?user_code={code}")
    assert code in page.text, page.text
    assert browser.submit(page, "allow").status == 200


@pytest.fixture(scope="module")
def agneta(service: Service) -> Browser:
    return service.join("agneta", "lab/production")[0]


@pytest.fixture(scope="module")
def agent(service: Service, agneta: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    assert shutil.which("oidc-agent"), "oidc-agent is missing: apt-get install oidc-agent-cli"
    home = tmp_path_factory.mktemp("agent")
    (home / "configuration").mkdir(mode=0o700)
    (home / "password").write_text("not told\n")
    socket = str(home / "socket")
    command = ["oidc-agent", "-d", f"--socket-path={socket}"]
    with (home / "agent.log").open("w") as log:
        process = subprocess.Popen(command, env=agent_environment(home), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 20
        while not Path(socket).exists():
            assert process.poll() is None and time.monotonic() < deadline, (home / "agent.log").read_text()
            time.sleep(0.05)
        made = Agent(service, home, socket)
        made.generate(agneta)
        yield made
    finally:
        process.terminate()
        process.wait(20)


def test_token_is_the_members(agent: Agent) -> None:
    body = claims(agent.token())
    assert body["preferred_username"] == "agneta" and set(body["scope"].split()) == set(SCOPE.split())
    assert agent.do("oidc-token", agent.service.issuer).count(".") == 2  # accounts are found by their issuer too


def test_scope_and_audience(agent: Agent) -> None:
    body = claims(agent.token("--scope=storage.read:/", f"--aud={ELEMENT}"))
    assert body["scope"] == "storage.read:/" and body["aud"] == ELEMENT
    # narrowed once is not narrowed for ever
    assert set(claims(agent.token("--force-new"))["scope"].split()) == set(SCOPE.split())


def test_a_log_in_by_the_client_that_is_registered_for_it(agent: Agent, agneta: Browser) -> None:
    """As docs/howto/user/login.md has it; what registered itself gets none."""
    agent.service.do(
        "client", "ensure", "mccli", "--public", "--grant=device,refresh", f"--audience={NODE} ssh_other.example.org"
    )
    agent.generate(agneta, "entrance", "--client-id=mccli", "--client-secret=", "--redirect-uri=")
    assert claims(agent.do("oidc-token", f"--aud={NODE}", "entrance"))["aud"] == NODE
    assert agent.run("oidc-token", f"--aud={ELEMENT}", "entrance").returncode != 0
    done = agent.run("oidc-token", f"--aud={NODE}", "agneta")
    assert done.returncode != 0 and "." not in done.stdout
    assert claims(agent.token("--force-new"))["aud"] == ANY


def test_refresh_again_and_again(agent: Agent) -> None:
    tokens = {agent.token("--force-new", f"--scope=storage.read:/data/{number}") for number in range(12)}
    assert len(tokens) == 12


@pytest.mark.parametrize("scope", ["storage.modify:/users/bob", "storage.modify:/data", "scim:write"])
def test_widening_is_refused(agent: Agent, scope: str) -> None:
    done = agent.run("oidc-token", f"--scope={scope}", "agneta")
    assert done.returncode != 0 and "scope" in done.stderr and "." not in done.stdout
    agent.token("--force-new")  # and harms nothing


def test_more_than_was_allowed_is_cut(agent: Agent) -> None:
    assert claims(agent.token("--scope=storage.modify:/"))["scope"] == "storage.modify:/users/agneta"


def test_account_is_loaded_again(agent: Agent) -> None:
    agent.do("oidc-add", "--remove", "agneta")
    agent.do("oidc-add", f"--pw-file={agent.home / 'password'}", "agneta")
    assert claims(agent.token("--force-new"))["preferred_username"] == "agneta"


def test_suspended_members_get_nothing(agent: Agent) -> None:
    agent.service.do("member", "suspend", "agneta")
    try:
        done = agent.run("oidc-token", "--force-new", "agneta")
        assert done.returncode != 0 and "." not in done.stdout
    finally:
        agent.service.do("member", "resume", "agneta")
