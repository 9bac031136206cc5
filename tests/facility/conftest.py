"""One sandbox for all facility tests, brought up by the same `farmlet up` that people run, removed at the end.

The tests run in the order of their files: a sandbox made, used, broken, mended and at last purged. FARMLET_RETAIN=1 keeps
the wreck of a failure; FARMLET_SANDBOX=FOLDER takes the sandbox of that folder, which stays, for work on single tests.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from farmlet.engine.disk import Disk
from farmlet.engine.docker import FOLDER_LABEL, connect, owned
from farmlet.engine.hosts import Hosts
from farmlet.facility.load import default_text
from farmlet.parts.storage.element import CERTIFICATE, KEY

FARMLET = [sys.executable, "-m", "farmlet.cli.main"]
UP_SECONDS = 900
pytestmark = pytest.mark.facility

# A test run started in the background ignores interrupts, and so would all it starts: some tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


def until(condition: Callable[[], object], seconds: float) -> float:
    """Seconds until the condition was true."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, f"not within {seconds} s"
        time.sleep(0.5)
    return time.monotonic() - began


@dataclass
class Sandbox:
    """A facility in a folder of its own; `before` is what the host looked like when there was none."""

    folder: Path
    name: str
    domain: str
    before: dict[str, Any]

    def start(self, *words: str, **options: Any) -> subprocess.Popen[str]:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
        return subprocess.Popen([*FARMLET, *words], cwd=self.folder, **(pipes | options))

    def run(self, *words: str, code: int | None = 0, seconds: float = UP_SECONDS) -> subprocess.CompletedProcess[str]:
        """`farmlet WORDS`; fails the test with everything it said when it exits otherwise than `code`."""
        done = subprocess.run([*FARMLET, *words], cwd=self.folder, capture_output=True, text=True, timeout=seconds)
        if code is not None and done.returncode != code:
            pytest.fail(f"farmlet {' '.join(words)} exited {done.returncode}, not {code}\n{done.stdout}\n{done.stderr}")
        return done

    def json(self, *words: str, code: int = 0) -> Any:
        return json.loads(self.run(*words, "--json", code=code).stdout)

    def exec(self, node: str, script: str) -> str:
        """Standard output of a root shell on a node, by Docker: ten times as quick as `farmlet node exec`."""
        done = subprocess.run(["docker", "exec", self.container(node), "sh", "-c", script], capture_output=True, text=True)
        if done.returncode:
            pytest.fail(f"on {node}: {script}\nexited {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done.stdout.strip()

    @cached_property
    def ca(self) -> str:
        """Where the facility's authority lies."""
        # whatever else is the matter just now
        return str(json.loads(self.run("status", "--json", code=None).stdout)["ca"])

    def container(self, node: str) -> str:
        return f"farmlet-{self.name}-{node}"


def docker(*words: str) -> str:
    return subprocess.run(["docker", *words], capture_output=True, text=True, check=True).stdout.strip()


# Docker's handle of the host's own network, mounted by the first container there (a test's, see test_3_directory.py)
ENGINES_OWN = "/run/docker/netns/default"


def snapshot() -> dict[str, Any]:
    """What `down --purge` must leave as it was: Docker's objects, mounts, firewall rules, the hosts file."""
    rules = subprocess.run(["iptables-save"], capture_output=True, text=True, check=False).stdout.splitlines()
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    return {
        "containers": sorted(docker("ps", "-aq", "--no-trunc").split()),
        "networks": sorted(docker("network", "ls", "-q", "--no-trunc").split()),
        "volumes": sorted(docker("volume", "ls", "-q").split()),
        "images": sorted(set(docker("images", "-aq", "--no-trunc").split())),
        # counters and the time of the dump differ each time
        "firewall": [line.split("[")[0].strip() for line in rules if not line.startswith("#")],
        "mounts": sorted(mount for mount in mounts if mount != ENGINES_OWN),
        "hosts": Path("/etc/hosts").read_bytes(),
    }


def sweep(runs: Path) -> None:
    """Remove what a test run that was killed left on this host; `runs` is where they all keep their folders."""
    client = connect()
    for name in ("test", "guest", "bare", "barehost", "taken"):
        found = owned(client, name)
        folders = [Path(container.labels.get(FOLDER_LABEL, runs)) for container in found["containers"]]
        Hosts(name).remove()  # of whatever facility, the tests would write over it
        if not folders or not all(folder.is_relative_to(runs) for folder in folders):
            continue  # somebody's own sandbox, which happens to have that name, or its volumes
        for container in found["containers"]:
            container.remove(force=True, v=True)
        for other in (*found["volumes"], *found["networks"]):
            other.remove()
        for folder in folders:
            Disk(folder).detach()


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    connect(start=True)
    if there := os.environ.get("FARMLET_SANDBOX"):
        validated = subprocess.run([*FARMLET, "validate", "--json"], cwd=there, capture_output=True, text=True, check=True)
        names = json.loads(validated.stdout)
        yield Sandbox(Path(there), names["name"], names["domain"], {})
        return
    sweep(tmp_path_factory.getbasetemp().parent)
    folder = tmp_path_factory.mktemp("facility")
    text = default_text().replace("name: lab ", "name: test ").replace("domain: farmlet.test", "domain: facility.test")
    (folder / "facility.yaml").write_text(text)
    made = Sandbox(folder, "test", "facility.test", snapshot())
    yield made
    if not os.environ.get("FARMLET_RETAIN"):
        made.run("down", "--purge", code=None)


@pytest.fixture(scope="session")
def running(sandbox: Sandbox) -> Sandbox:
    """The sandbox, up: so that each file of tests can be run by itself."""
    sandbox.run("up")
    return sandbox


@pytest.fixture
def lure(sandbox: Sandbox, running: Sandbox) -> Iterator[list[str]]:
    """Beside the facility's element: the lines that `lure.py` has printed."""
    program = Path(__file__).with_name("lure.py").read_text()
    words = ["docker", "exec", "-i", sandbox.container("head"), "python3", "-u", "-c", program]
    said: list[str] = []
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([*words, CERTIFICATE, KEY], **pipes) as process:  # type: ignore[call-overload]
        assert process.stdout.readline() == "ready\n"
        Thread(target=lambda: said.extend(process.stdout), daemon=True).start()
        yield said
        process.stdin.close()


@pytest.fixture(autouse=True)
def _logs(request: pytest.FixtureRequest, sandbox: Sandbox) -> Iterator[None]:
    """A failure ends with `farmlet logs`."""
    failed = request.session.testsfailed
    yield
    if request.session.testsfailed > failed:
        print(sandbox.run("logs", code=None, seconds=120).stdout[-8000:])


def kill_group(process: subprocess.Popen[str], number: signal.Signals) -> None:
    """A signal to a command and all it started."""
    os.killpg(process.pid, number)
    process.communicate(timeout=60)
