"""Sandboxes for the facility tests, brought up by the same `farmlet up` that people run, removed at the end.

Most tests share one, `test`, side by side: each has members of its own, stops no daemon and edits no file. Those marked
`disturbs` do, one after another on one of their own, `harm`; those in the lane `edit` change the facility file of a third.
FARMLET_RETAIN=1 keeps the wreck of a failure; FARMLET_SANDBOX=FOLDER takes the sandbox of that folder, which stays, for work
on single tests.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from sandbox import DOMAINS, FARMLET, Sandbox, until

import budgets
from farmlet.engine.sandbox.docker import LABEL
from farmlet.facility.load import default_text
from farmlet.parts.storage.element import CERTIFICATE, KEY
from host import prepare
from lanes import find_lane
from once import alone, folder, once

HALF_MINUTE = "\nbase: {check_seconds: 30}"
TESTED = f"{HALF_MINUTE}\nsitetests: {{every: 86400}}"
SELDOM = f"{TESTED}\nmonitoring: {{scrape_seconds: 60}}"
# where `outside.py` listens while a test runs it; at other times they are away
TOLD = """
monitoring:
  scrape_seconds: 60
  mail: {to: [admin@harm.test], from: farmlet@harm.test, smtp: "head.harm.test:2525", tls: false}
  webhooks: ["http://head.harm.test:8431/alarms"]
  deadman: "http://head.harm.test:8431/deadman"
  also: ["http://head.harm.test:8430/api/v1/write"]
  writers: [beam]
  readers: [shed]"""
LIMITS = "\nstorage: {limits: {/users/pia: 32M, /users/paul: 96M, /data: 48M}}"
# What tests want to find in the file of their sandbox, so that they need not change it: what goes before which line. Checks run
# half as often, for all sandboxes share two cores; where sites are broken on purpose, they are not tested meanwhile.
MORE = {
    "test": {
        "\n  lab/production:": "\n  small: {login: true, home: 64M, scratch: 64M, notebooks: {cores: 1}}",
        "\nidentity:": HALF_MINUTE,
    },
    "harm": {"\nidentity:": TESTED + TOLD + "\nnotebooks: {spawner: systemd}"},
    "edit": {"\nidentity:": f"{SELDOM}\nnotebooks: {{sharing: true}}{LIMITS}"},
}

OWN = ("harm", "edit")  # lanes with a sandbox of their own


def write_file(name: str) -> str:
    """The facility file of a sandbox of this run; its folder."""
    place = folder() / name
    place.mkdir()
    text = default_text().replace("name: lab ", f"name: {name} ").replace("domain: farmlet.test", f"domain: {DOMAINS[name]}")
    for line, more in MORE[name].items():
        text = text.replace(line, more + line, 1)
    (place / "facility.yaml").write_text(text)
    return str(place)


@pytest.fixture(scope="session")
def before() -> dict[str, Any]:
    """This host without any sandbox."""
    return dict(once("prepare", prepare))


@pytest.fixture(scope="module")
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    """That of the file's lane."""
    if there := os.environ.get("FARMLET_SANDBOX"):
        validated = subprocess.run([*FARMLET, "validate", "--json"], cwd=there, capture_output=True, text=True, check=True)
        names = json.loads(validated.stdout)
        return Sandbox(Path(there), names["name"], names["domain"])
    request.getfixturevalue("before")
    lane = find_lane(request.node.nodeid)
    name = lane if lane in DOMAINS else "test"
    return Sandbox(Path(once(f"{name}.file", lambda: write_file(name))), name, DOMAINS[name])


@pytest.fixture(scope="module")
def running(sandbox: Sandbox, images: None) -> Sandbox:
    """The sandbox, up: so that each file of tests can be run by itself."""
    sandbox.report = once(f"{sandbox.name}.up", lambda: bring_up(sandbox))
    return sandbox


def bring_up(sandbox: Sandbox) -> Any:
    """One after another: several that come up at once take longer than that, and all other tests meanwhile."""
    with alone("up"):
        return sandbox.json("up")


@pytest.fixture(scope="session")
def images(request: pytest.FixtureRequest) -> None:
    """The images of nodes that most sandboxes share; they are made once, by the `up` of `test`."""
    if not os.environ.get("FARMLET_SANDBOX"):
        request.getfixturevalue("before")
        test = Sandbox(Path(once("test.file", lambda: write_file("test"))), "test", DOMAINS["test"])
        once("test.up", lambda: bring_up(test))


@pytest.fixture(autouse=True)
def _whole(request: pytest.FixtureRequest) -> Iterator[None]:
    """What a test disturbed is well again before the next."""
    yield
    if mark := request.node.get_closest_marker("disturbs"):
        sandbox = request.getfixturevalue("sandbox")
        until(lambda: all(row["ok"] for row in json.loads(sandbox.run("check", *mark.args, "--json", code=None).stdout)), 90)


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
def _logs(request: pytest.FixtureRequest) -> Iterator[None]:
    """A failure ends with `farmlet logs`."""
    failed = request.session.testsfailed
    yield
    if request.session.testsfailed > failed and "sandbox" in request.fixturenames:
        print(request.getfixturevalue("sandbox").run("logs", code=None, seconds=120).stdout[-8000:])


def kill(lane: str) -> None:
    """End a sandbox without its goodbyes: systemd takes seconds of a core to shut a container down."""
    words = ["docker", "ps", "--quiet", "--filter", f"label={LABEL}={lane}"]
    found = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
    if found:
        subprocess.run(["docker", "kill", *found], stdout=subprocess.DEVNULL, check=True)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """A sandbox that only one lane has stops with its last test: even idle it would take from the two cores of all others."""
    lane, then = find_lane(item.nodeid), find_lane(nextitem.nodeid) if nextitem else ""
    if lane in OWN and then != lane and not {"FARMLET_SANDBOX", "FARMLET_RETAIN"} & {*os.environ}:
        kill(lane)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """All sandboxes of the run go, whatever became of its tests."""
    if hasattr(session.config, "workerinput") or os.environ.get("FARMLET_RETAIN"):
        return
    for name in DOMAINS:
        if (folder() / name).exists():
            Sandbox(folder() / name, name, DOMAINS[name]).run("down", "--purge", code=None)


pytest_terminal_summary = budgets.tell
