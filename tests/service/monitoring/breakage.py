"""A node with all that the shipped alarms watch, whole or broken. What counts are the parts' own functions, in the agent's own
collector; what they look at is real: files, certificates, servers, a file system, the kernel's word on memory."""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from http.server import ThreadingHTTPServer
from pathlib import Path

from pieces import Exporter

from farmlet.parts import gate
from farmlet.parts.base.collector import Collector
from farmlet.parts.base.examiner import Examiner
from farmlet.parts.base.tasks import Call
from farmlet.parts.render import render
from waiting import Silent, find_port

PARTS, PACKAGE = "farmlet.parts", "farmlet.parts.monitoring"
DAY = 86400
# what is there once; the rest is in the namespace of the exporter alone
MOUNTS = 'mount -t tmpfs -o size=1m tmpfs /srv && mount --bind "$0" /proc/meminfo && exec "$@"'
# a job that ended, as HTCondor 23 writes it, shortened
JOB = """\
AcctGroup = "lab"
CpusProvisioned = 1
ExitCode = {code}
JobStartDate = 1700000100
JobStatus = 4
JobUniverse = 5
MachineAttrFarmletSite0 = "tier1"
QDate = 1700000000
RemoteUserCpu = 1.0
RemoteWallClockTime = {wall}
*** Offset = 0 ClusterId = 1 ProcId = 0 Owner = "ada" CompletionDate = 1700000200
"""
# as the exporter of a node tells of a unit that ended with 1 (tests/facility/test_3_monitoring.py sees it do so)
UNIT = 'node_systemd_unit_state{name="beam.service",state="failed",type="simple"} %d\n'


class Host(ThreadingHTTPServer):
    """Issuer, storage element and reverse proxy in one. `slow`: seconds for which the issuer thinks, `off`: by which its clock is
    wrong; `lost`: whether storage does not know what to do."""

    daemon_threads = True
    slow, off, lost = 0.0, 0.0, False

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), HostHandler)
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_side=True)


class HostHandler(Silent):
    server: Host

    def do_GET(self) -> None:
        url = f"http://127.0.0.1:{self.server.server_port}"
        endpoints = dict.fromkeys(("token_endpoint", "device_authorization_endpoint", "jwks_uri"), f"{url}/keys")
        if self.path.startswith("/.well-known"):
            time.sleep(self.server.slow)
            self.answer(200, {"issuer": url, **endpoints})
        elif self.path == "/keys":
            self.answer(200, {"keys": [{"kty": "EC"}]})
        else:
            self.answer(500 if self.server.lost else 403, {})

    do_PUT = do_HEAD = do_GET

    def answer(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data if self.command == "GET" else b"")

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string(time.time() + self.server.off)


def list_flags(folder: Path) -> list[str]:
    """The exporter's words as its unit has them, for the namespace of a test: without systemd, and of file systems /srv alone, as
    Debian 12's knows how to say it too."""
    text = render(PACKAGE, "exporter.service", user="x", metrics=str(folder)).replace("\\\n", "").replace("$$", "$")
    (line,) = re.findall("^ExecStart=(.*)$", text, re.MULTILINE)
    words = [word for word in line.split()[1:] if "systemd" not in word and "collector.filesystem." not in word]
    return [*words, "--collector.filesystem.mount-points-exclude=^/($|[^s]|s[^r])"]


class Bench:
    """`root`: a folder for everything. `exporter`: the port of the node's; `units` tells what it would of systemd."""

    def __init__(self, root: Path) -> None:
        self.root, self.exporter = root, find_port()
        for name in ("numbers", "agent.d", "authorities", "backup", "credentials/ada", "gates", "bin"):
            (root / name).mkdir(parents=True)
        self.make_certificate("host", 30)
        subprocess.run(["cp", root / "host.crt", root / "authorities" / "host.pem"], check=True)
        subprocess.run(["openssl", "rehash", root / "authorities"], check=True)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(root / "host.crt", root / "host.key")
        self.issuer, self.element = Host(), Host(tls)
        self.pool: socket.socket | None = None
        self.port = find_port()
        self.units = Exporter()
        self.stop = threading.Event()
        (root / "agent.d" / "x.json").write_text(json.dumps({"renew": [{"path": f"{root}/node.crt"}]}))
        # the access point's answer
        (root / "bin" / "condor_q").write_text(f"#!/bin/sh\nexec cat {root}/queue.json\n")
        (root / "bin" / "condor_q").chmod(0o755)
        self.history = root / "history"
        self.history.write_text(JOB.format(code=0, wall=100.0))
        self.mend()

    @property
    def command(self) -> list[str]:
        """The exporter, with a file system of its own at /srv and memory as the file `meminfo` tells."""
        listen = f"--web.listen-address=127.0.0.1:{self.exporter}"
        program = ["prometheus-node-exporter", listen, *list_flags(self.root / "numbers")]
        # numbered 1 there, whose mounts the exporter tells
        return [
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "sh",
            "-c",
            MOUNTS,
            f"{self.root}/meminfo",
            *program,
        ]

    def list_metrics(self) -> Sequence[Call]:
        root, sites = str(self.root), {"groups": ["lab"], "sites": ["tier1"]}
        host = {"host": f"localhost:{self.element.server_port}", "ca": f"{root}/host.crt"}
        return (
            Call("monitoring.certificates", f"{PACKAGE}.metrics:measure_certificates", {"tasks": f"{root}/agent.d"}),
            Call("monitoring.clock", f"{PACKAGE}.metrics:measure_clock", host),
            Call("monitoring.backup", f"{PACKAGE}.metrics:measure_backup", {"path": f"{root}/backup"}),
            Call("batch.jobs", f"{PARTS}.batch.metrics:count_jobs", sites),
            Call(
                "batch.ended", f"{PARTS}.batch.history:measure", {"history": f"{root}/history", "state": f"{root}/ended", **sites}
            ),
            Call("tokens.credentials", f"{PARTS}.tokens.metrics:count_credentials", {"folder": f"{root}/credentials"}),
            Call(
                "sitetests.gates",
                f"{PARTS}.sitetests.metrics:measure",
                {"folder": f"{root}/gates", "sites": ["tier1", "hpc"], "told": f"{root}/told.json"},
            ),
        )

    def list_checks(self) -> Sequence[Call]:
        url = {"url": f"https://localhost:{self.element.server_port}", "folder": f"{self.root}/authorities"}
        issuer = {"issuer": f"http://127.0.0.1:{self.issuer.server_port}"}
        return (
            Call("storage.element.strangers", f"{PARTS}.storage.checks:check_strangers", url),
            Call("identity.provider.issuer", f"{PARTS}.identity.checks:check_issuer", issuer),
            Call("batch.pool.port", "farmlet.runtime.checks:check_port", {"host": "127.0.0.1", "port": self.port}),
        )

    @contextmanager
    def work(self) -> Iterator[None]:
        """As the agent does, more often."""
        collector, examiner = Collector(self.root / "numbers"), Examiner()

        def repeat(act: Callable[[], None]) -> None:
            while not self.stop.wait(0.5):
                act()

        acts = (
            lambda: collector.collect(self.list_metrics()),
            lambda: collector.record(examiner.examine(self.list_checks())),
        )
        threads = [threading.Thread(target=repeat, args=(act,), daemon=True) for act in acts]
        for thread in threads:
            thread.start()
        yield
        self.stop.set()
        for thread in threads:
            thread.join()

    def make_certificate(self, name: str, days: int) -> None:
        names = ["-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost"]
        files = ["-keyout", f"{self.root}/{name}.key", "-out", f"{self.root}/{name}.new"]
        kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        words = ["openssl", "req", "-x509", "-nodes", "-days", str(days), *kind, *names, *files]
        subprocess.run(words, check=True, capture_output=True)
        (self.root / f"{name}.new").replace(self.root / f"{name}.crt")

    def mend(self, disk: Path | None = None) -> None:
        """All is well. `disk`: the small file system."""
        now = time.time()
        self.issuer.slow, self.element.off, self.element.lost = 0.0, 0.0, False
        self.units.text = UNIT % 0
        if self.pool is None:
            self.pool = socket.create_server(("127.0.0.1", self.port))
        if disk:
            (disk / "full").unlink()
        self.tell_memory(0.5)
        self.make_certificate("node", 30)
        (self.root / "backup" / "tonight.tar").write_bytes(b"all")
        (self.root / "queue.json").write_text("[]")
        self.keep_token(now + 3600)
        self.tell_frozen()
        gate.save(self.root / "gates", "tier1", gate.Gate(True, now))
        gate.save(self.root / "gates", "hpc", gate.Gate(True, now))

    def destroy(self, disk: Path) -> None:
        """Everything at once, but for the silence of a node."""
        now = time.time()
        self.issuer.slow, self.element.off, self.element.lost = 2.5, 60.0, True
        self.units.text = UNIT % 1
        if self.pool:
            self.pool.close()
            self.pool = None
        with suppress(OSError), (disk / "full").open("wb") as stream:
            stream.write(bytes(2 << 20))
        self.tell_memory(0.01)
        self.make_certificate("node", 3)
        (self.root / "backup" / "tonight.tar").unlink()
        (self.root / "backup" / "lastweek.tar").write_bytes(b"all")
        os.utime(self.root / "backup" / "lastweek.tar", (now - 6 * DAY, now - 6 * DAY))
        waiting = {"JobStatus": 1, "AcctGroup": "lab", "EnteredCurrentStatus": int(now) - 7200}
        (self.root / "queue.json").write_text(json.dumps([waiting]))
        with self.history.open("a") as stream:
            stream.write(JOB.format(code=127, wall=2.0) * 15)
        self.keep_token(now - 60)
        self.tell_frozen("storage")
        gate.save(self.root / "gates", "tier1", gate.Gate(False, now, "weather: it rains"))
        tests = {f"run-{number}": [0, now, ""] for number in range(2007)}
        gate.save(self.root / "gates", "hpc", gate.Gate(True, now, tests=tests))

    def tell_frozen(self, *tests: str) -> None:
        (self.root / "told.json").write_text(json.dumps({"tests": [{"test": "storage"}], "frozen": tests}))

    def tell_memory(self, share: float) -> None:
        """In place: the file is bound to the kernel's."""
        text = Path("/proc/meminfo").read_text()
        (total,) = re.findall(r"^MemTotal: +(\d+) kB$", text, re.MULTILINE)
        line = f"MemAvailable: {int(int(total) * share):11d} kB"
        (self.root / "meminfo").write_text(re.sub("^MemAvailable:.*$", line, text, flags=re.MULTILINE))

    def keep_token(self, end: float) -> None:
        folder = self.root / "credentials" / "ada"
        (folder / "farmlet.top").write_text("{}")
        claims = base64.urlsafe_b64encode(json.dumps({"exp": end}).encode()).rstrip(b"=")
        (folder / "farmlet.use").write_bytes(b"h." + claims + b".s")
