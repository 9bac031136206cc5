"""The daemon itself, as a process: killed in the middle, without its directory, and what it leaves."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import slapd
from test_sinks import MARK, read

from farmlet.parts.accounts.source.builtin import EXTENSION
from waiting import until

pytestmark = [pytest.mark.service, pytest.mark.timeout(300)]
SOURCE = Path(__file__).parents[3] / "src"
RIGHTS = {"groups": [{"path": "lab", "login": True}, {"path": "a/b-c"}, {"path": "a"}]}


class Identity:
    """Stands in for identity's SCIM: hands out the members it is given. The real one is in benchmarks/accounts.py."""

    def __init__(self) -> None:
        self.members: dict[str, dict[str, Any]] = {}
        self.removed: list[str] = []
        self.cursor = 1
        identity = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path, _, query = self.path.partition("?")
                values = dict(part.split("=") for part in query.split("&") if part)
                self.answer(identity.tell(path, values))

            def do_POST(self) -> None:
                self.answer({"access_token": "x", "token_type": "Bearer", "expires_in": 3600})

            def answer(self, body: dict[str, Any]) -> None:
                data = json.dumps(body).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def tell(self, path: str, query: dict[str, str]) -> dict[str, Any]:
        if path == "/.well-known/openid-configuration":
            return {"issuer": self.url, "token_endpoint": f"{self.url}/token"}
        if path.endswith("/changes"):
            time.sleep(0.2)
            return {"cursor": self.cursor, "changed": [], "removed": self.removed}
        first, count = int(query["startIndex"]) - 1, int(query["count"])
        users = list(self.members.values())
        return {"totalResults": len(users), "Resources": users[first : first + count]}

    def add(self, name: str, uid: int, state: str = "active", *groups: str) -> None:
        ours = {"name": name, "uidNumber": uid, "gidNumber": uid, "state": state}
        ours["groups"] = [{"path": path, "gidNumber": 30000 + number} for number, path in enumerate(groups or ("lab",))]
        self.members[name] = {"id": f"sub-{uid}", "userName": name, "displayName": name.title(), EXTENSION: ours}

    def remove(self, *names: str) -> None:
        self.removed += [self.members.pop(name)["id"] for name in names]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def identity() -> Iterator[Identity]:
    running = Identity()
    yield running
    running.close()


STARTED: list[subprocess.Popen[str]] = []


@pytest.fixture(autouse=True)
def _end() -> Iterator[None]:
    """No daemon outlives its test."""
    yield
    while STARTED:
        stop(STARTED.pop())


def start(folder: Path, identity: Identity, running: slapd.Running, *words: str) -> subprocess.Popen[str]:
    (folder / "accounts-secret").write_text("x")
    place: dict[str, Any] = {"base": "dc=farmlet,dc=test", "server": {"uri": running.uri}}
    if running.port:
        server = {"uri": running.uri, "bind": slapd.BIND, "password": str(running.folder / "password"), "ca": running.ca}
        subtrees = {"people": "ou=people,dc=example,dc=org", "groups": "ou=groups,dc=example,dc=org"}
        place = {"base": "", "mark": MARK, "server": server, **subtrees}
    files = {name: str(folder / f"{name}.json") for name in ("tombstones", "faults", "seen")} | {"outbox": str(folder)}
    source = {"issuer": identity.url, "client": "accounts"}
    config = {"source": source, "first_uid": 20000, "homes": "/home", "shell": "/bin/bash", "rights": RIGHTS} | place | files
    (folder / "config.json").write_text(json.dumps(config))
    # Debian's own Python and its python-ldap, as on nodes
    command = ["/usr/bin/python3", "-m", "farmlet.parts.accounts.daemon", "--config", str(folder / "config.json"), *words]
    environment = {"PYTHONPATH": str(SOURCE), "CREDENTIALS_DIRECTORY": str(folder), "PATH": "/usr/bin"}
    STARTED.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=sys.stderr, text=True))
    return STARTED[-1]


def stop(process: subprocess.Popen[str]) -> None:
    """With signal 9."""
    process.kill()
    process.wait()


@pytest.mark.parametrize("kind", ["ours", "theirs"])
def test_killed_in_the_middle_of_two_thousand_changes_the_end_is_the_same(
    kind: str, request: pytest.FixtureRequest, identity: Identity, tmp_path: Path
) -> None:
    running: slapd.Running = request.getfixturevalue(kind)
    foreign = read(running) if running.port else {}
    for number in range(1000):  # each a person and a private group
        identity.add(f"user{number}", 20100 + number)
    begun = start(tmp_path, identity, running)
    until(lambda: people(running) > 300 or begun.poll() is not None)
    stop(begun)  # -9
    assert 300 < people(running) < 1000
    assert not (tmp_path / "accounts").exists()  # the nodes hear of nobody whom the directory does not know
    second = start(tmp_path, identity, running)
    until(lambda: people(running) > 700)
    stop(second)
    (tmp_path / "accounts").unlink(missing_ok=True)  # it may have come to its end just before
    identity.add("user3", 20103, "suspended")
    identity.remove("user4")
    last = start(tmp_path, identity, running)
    until(lambda: (tmp_path / "accounts").exists())
    stop(last)
    found = {dn: entry for dn, entry in read(running).items() if dn not in foreign}
    names = {entry["uid"][0] for entry in found.values() if "uid" in entry}
    assert names == identity.members.keys()
    lab = next(entry for entry in found.values() if entry.get("cn") == ["lab"])
    assert set(lab["memberUid"]) == names - {"user3"}
    assert {dn: entry for dn, entry in read(running).items() if dn in foreign} == foreign
    assert plan(tmp_path, identity, running) == []
    identity.remove(*identity.members)
    identity.add("last", 22000)
    final = start(tmp_path, identity, running)
    until(lambda: people(running) == 1)
    stop(final)


def test_a_dry_run_is_readable_and_changes_nothing(identity: Identity, ours: slapd.Running, tmp_path: Path) -> None:
    before = read(ours) if people(ours) else {}
    identity.add("zoe", 23000, "active", "a", "a/b-c")
    lines = plan(tmp_path, identity, ours)
    assert "directory: member zoe: added, number 23000" in lines
    assert "directory: group a-b-c: added, number 30001, 1 members" in lines
    assert "nodes: member zoe: told, active" in lines
    assert (read(ours) if before else {}) == before and not (tmp_path / "tombstones.json").exists()


def test_a_directory_that_dies_under_the_daemon_is_filled_when_it_is_back(identity: Identity, tmp_path: Path) -> None:
    for number in range(200):
        identity.add(f"user{number}", 20100 + number)
    with slapd.make(existing=False) as folder:
        process = None
        with slapd.run(folder, False) as running:
            process = start(tmp_path, identity, running)
            until(lambda: people(running) > 20)
            running.kill()
        until(lambda: (tmp_path / "faults.json").exists() and "ldapi" in (tmp_path / "faults.json").read_text())
        with slapd.run(folder, False) as running:
            until(lambda: people(running) == 200)
            until(lambda: (tmp_path / "faults.json").read_text() == "[]")
            until(lambda: len(json.loads((tmp_path / "accounts").read_text())) == 200)
            stop(process)


def plan(folder: Path, identity: Identity, running: slapd.Running) -> list[str]:
    with start(folder, identity, running, "--dry-run") as process:
        return process.communicate(timeout=60)[0].splitlines()


def people(running: slapd.Running) -> int:
    """How many of our people are in the directory."""
    import ldap

    try:
        found = read(running)
    except ldap.LDAPError:
        return 0
    mark = MARK if running.port else "farmlet"
    return sum(f"{mark} sub-" in entry.get("description", [""])[0] for entry in found.values())
