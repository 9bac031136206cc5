"""A real agent process and a real control API (gunicorn) with mutual TLS between: items, commands, checks, one that is away."""

from __future__ import annotations

import grp
import json
import os
import pwd
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from relay import Relay

from farmlet.engine.authority import Authority
from farmlet.parts.base.client import Client, Parcel, Unreachable
from waiting import find_port, until

pytestmark = pytest.mark.service
NODES = {"head.localhost": "head", "other.localhost": "other"}


def make_certificate(authority: Authority, folder: Path, stem: str, name: str, client: bool) -> None:
    key = folder / f"{stem}.key"
    command = ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", str(key)]
    subprocess.run(command, check=True, capture_output=True)
    command = ["openssl", "req", "-new", "-key", str(key), "-subj", f"/CN={name}"]
    csr = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    (folder / f"{stem}.crt").write_text(authority.sign(csr, [name], client))


class Site:
    """Control API, proxy and one agent, in a folder of their own."""

    def __init__(self, root: Path) -> None:
        self.root, self.data, self.tasks = root, root / "control", root / "agent.d"
        for path in ("outbox/all", "outbox/head", "outbox/other", "inbox/head", "inbox/other", "results"):
            (self.data / path).mkdir(parents=True)
        self.tasks.mkdir()
        authority = Authority(root, "ca", "localhost", "Test authority")
        authority.ensure()
        make_certificate(authority, root, "door", "localhost", client=False)
        make_certificate(authority, root, "node", "head.localhost", client=True)
        make_certificate(authority, root, "server", "other.localhost", client=False)
        (root / "control.json").write_text(json.dumps({"root": str(self.data), "nodes": NODES}))
        port = find_port()
        app = f'farmlet.parts.base.control:load("{root}/control.json")'
        command = [
            sys.executable,
            "-m",
            "gunicorn",
            "--threads",
            "8",
            "--graceful-timeout",
            "1",
            "--bind",
            f"127.0.0.1:{port}",
            "--no-control-socket",
        ]
        self.control = subprocess.Popen([*command, "--log-level", "error", app])
        self.behind = port
        until(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0)
        self.relay = Relay(port, root)
        self.agent: subprocess.Popen[bytes] | None = None

    def client(self, stem: str = "node", ca: str = "ca.crt") -> Client:
        url = f"https://localhost:{self.relay.port}"
        return Client(url, str(self.root / ca), str(self.root / f"{stem}.crt"), str(self.root / f"{stem}.key"))

    def start(self, every: float = 600) -> subprocess.Popen[bytes]:
        config = {"control": f"https://localhost:{self.relay.port}", "ca": str(self.root / "ca.crt")}
        config |= {"certificate": str(self.root / "node.crt"), "key": str(self.root / "node.key")}
        config |= {"tasks": str(self.tasks), "state": str(self.root / "state"), "metrics": str(self.root / "metrics")}
        (self.root / "agent.json").write_text(json.dumps(config | {"every": every}))
        command = [sys.executable, "-m", "farmlet.parts.base.agent", "--config", str(self.root / "agent.json")]
        self.agent = subprocess.Popen(command, stderr=(self.root / "agent.log").open("ab"))
        return self.agent

    def write(self, name: str, **tasks: Any) -> None:
        (self.tasks / name).write_text(json.dumps(tasks))

    def results(self) -> dict[str, Any]:
        try:
            record = json.loads((self.data / "results/head.json").read_text())
        except OSError:
            return {}
        return {row["check"]: row for row in record["results"]}

    def close(self) -> None:
        for process in (self.agent, self.control):
            if process is not None:
                process.terminate()
                process.wait(10)
        self.relay.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.close()


def delivery(path: Path, **more: Any) -> dict[str, Any]:
    owner, group = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name
    return {"path": str(path), "mode": "0600", "owner": owner, "group": group} | more


def test_items_come_and_go_as_this_nodes_own_duties_say(site: Site, tmp_path: Path) -> None:
    target, log, key = tmp_path / "token", tmp_path / "log", tmp_path / "key.pub"
    key.write_text("ssh-ed25519 AAAA")
    (site.data / "outbox/head/unasked").write_bytes(b"nobody wants this")
    (site.data / "outbox/other/token").write_bytes(b"another's")
    then = [["sh", "-c", f"echo again >> {log}"]]
    site.write("a.json", deliver={"token": delivery(target, then=then)}, publish={"key": str(key)})
    site.start()
    until(lambda: (site.data / "inbox/head/key").exists())
    assert (site.data / "inbox/head/key").read_text() == "ssh-ed25519 AAAA"
    assert not target.exists()

    (site.data / "outbox/head/token").write_bytes(b"one")
    until(lambda: target.exists() and log.exists())
    assert target.read_bytes() == b"one"
    assert target.stat().st_mode & 0o777 == 0o600

    key.write_text("ssh-ed25519 BBBB")
    until(lambda: (site.data / "inbox/head/key").read_text() == "ssh-ed25519 BBBB")
    site.write("b.json", deliver={"unasked": delivery(tmp_path / "now-asked")})
    until((tmp_path / "now-asked").exists)
    assert log.read_text() == "again\n"


def test_a_large_item_comes_whole_and_not_again_for_others_changes(site: Site, tmp_path: Path) -> None:
    target, other, large = tmp_path / "list", tmp_path / "token", b"".join(b"%d\n" % number for number in range(100_000))
    (site.data / "outbox/all/list").write_bytes(large)
    site.write("a.json", deliver={"list": delivery(target), "token": delivery(other)})
    site.start()
    until(lambda: target.exists() and target.read_bytes() == large)
    calls: list[str] = []
    client, known = site.client(), site.client().fetch(Parcel("", {}), 0)
    client._call = lambda *words: calls.append(words[1]) or Client._call(client, *words)  # type: ignore[method-assign,func-returns-value]
    (site.data / "outbox/all/token").write_bytes(b"one")
    assert client.fetch(known, 5).items == {"list": large, "token": b"one"}
    assert [call for call in calls if "/item/" in call] == []
    (site.data / "outbox/all/list").write_bytes(large[::-1])
    until(lambda: target.read_bytes() == large[::-1])


def test_checks_run_at_once_when_asked_and_are_handed_in(site: Site, tmp_path: Path) -> None:
    call = {"call": "farmlet.runtime.checks:check_file", "args": {"path": str(tmp_path / "flag")}}
    site.write("checks.json", checks=[{"name": "part.role.flag", **call}])
    agent = site.start(every=600)
    until(lambda: site.results())
    assert site.results()["part.role.flag"]["ok"] is False
    (tmp_path / "flag").write_text("x")
    agent.send_signal(signal.SIGHUP)
    until(lambda: site.results()["part.role.flag"]["ok"], 5)
    command = [sys.executable, "-m", "farmlet.parts.base.agent", "--config", str(tmp_path / "agent.json"), "--check", "part"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    rows = json.loads(done.stdout)
    assert (done.returncode, [row["check"] for row in rows], rows[0]["ok"]) == (0, ["part.role.flag"], True)


def test_numbers_of_checks_and_metrics_are_left_on_the_node(site: Site, tmp_path: Path) -> None:
    space = {"call": "farmlet.parts.storage.metrics:measure", "args": {"root": str(tmp_path), "counts": str(tmp_path / "none")}}
    check = {"call": "farmlet.runtime.checks:check_file", "args": {"path": str(tmp_path)}}
    site.write("metrics.json", metrics=[{"name": "storage.space", **space}], checks=[{"name": "a.b", **check}])
    site.start(every=1)
    folder = tmp_path / "metrics"
    until(lambda: (folder / "checks.prom").exists() and (folder / "storage.space.prom").exists())
    assert 'farmlet_check_ok{check="a.b"} 1.0' in (folder / "checks.prom").read_text()
    assert "farmlet_storage_free_bytes " in (folder / "storage.space.prom").read_text()


def test_a_hub_that_is_away_is_waited_for(site: Site, tmp_path: Path) -> None:
    target = tmp_path / "token"
    site.write("a.json", deliver={"token": delivery(target)})
    port = site.relay.port
    agent = site.start(every=1)
    until(lambda: (site.data / "results/head.json").exists())
    site.relay.close()
    (site.data / "outbox/head/token").write_bytes(b"late")
    time.sleep(3)
    assert agent.poll() is None
    site.relay = Relay(site.behind, site.root, port)
    # the open request may have survived in the closed door; its answer or the next attempt brings the item
    until(target.exists, 12)
    assert target.read_bytes() == b"late"


def test_the_agent_is_small_and_ends_when_told(site: Site) -> None:
    site.write(
        "checks.json", checks=[{"name": "a.b.c", "call": "farmlet.runtime.checks:check_file", "args": {"path": "/etc/passwd"}}]
    )
    agent = site.start()
    until(lambda: site.results())
    status = Path(f"/proc/{agent.pid}/status").read_text()
    resident = int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])
    assert resident <= 40 * 1024
    agent.terminate()
    assert agent.wait(5) == 0


def test_who_cannot_show_a_nodes_certificate_gets_nothing(site: Site, tmp_path: Path) -> None:
    assert site.client().fetch(Parcel("", {}), 0).items == {}
    # of the right authority, but made for a server: the handshake or the control API refuses it
    with pytest.raises(Unreachable):
        site.client("server").fetch(Parcel("", {}), 0)
    stranger = Authority(tmp_path, "stranger", "localhost", "Stranger")
    stranger.ensure()
    make_certificate(stranger, tmp_path, "fake", "head.localhost", client=True)
    with pytest.raises(Unreachable):
        site.client("fake").fetch(Parcel("", {}), 0)
    # and the node trusts nobody but the facility's authority
    with pytest.raises(Unreachable):
        site.client(ca="stranger.crt").fetch(Parcel("", {}), 0)
