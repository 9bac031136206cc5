"""The servers of monitoring as a test starts them, each on ports of its own, and what stands beside them."""

from __future__ import annotations

import json
import socket
import socketserver
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from farmlet.parts.monitoring import notifier, rules
from farmlet.parts.monitoring.config import Section
from farmlet.parts.monitoring.pages.copies import Copies
from farmlet.parts.monitoring.pages.intake import PATH, Intake
from farmlet.parts.monitoring.pages.store import Away, Store
from waiting import Silent, find_port, serve

NODES = {"head.farmlet.test": "head", "service.farmlet.test": "service"}


class Door(socketserver.ThreadingUnixStreamServer):
    """The store's unix socket, as systemd-socket-proxyd offers it."""

    daemon_threads = True

    def __init__(self, path: Path, port: int) -> None:
        self.port = port
        super().__init__(str(path), DoorHandler)


class DoorHandler(socketserver.BaseRequestHandler):
    server: Door

    def handle(self) -> None:
        with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", self.server.port)) as behind:
            thread = threading.Thread(target=self.copy, args=(self.request, behind), daemon=True)
            thread.start()
            self.copy(behind, self.request)
            thread.join()

    @staticmethod
    def copy(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):  # the other side has gone
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


class Sink(socketserver.ThreadingTCPServer):
    """A mail relay that keeps what it is given (RFC 5321, as far as Alertmanager speaks it)."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        self.mails: list[str] = []
        super().__init__(("127.0.0.1", 0), SinkHandler)


class SinkHandler(socketserver.StreamRequestHandler):
    server: Sink

    def handle(self) -> None:
        self.wfile.write(b"220 sink\r\n")
        while line := self.rfile.readline():
            word = line.split(None, 1)[0].upper() if line.split() else b""
            if word == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                text = b"".join(iter(self.rfile.readline, b".\r\n"))
                self.server.mails.append(text.decode())
            if word == b"QUIT":
                self.wfile.write(b"221 bye\r\n")
                return
            self.wfile.write(b"250 ok\r\n")


class Hook(ThreadingHTTPServer):
    """A receiver of webhooks that keeps what it is sent: path and JSON."""

    daemon_threads = True

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []
        super().__init__(("127.0.0.1", 0), HookHandler)


class HookHandler(Silent):
    def do_POST(self) -> None:
        assert isinstance(self.server, Hook)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.told.append((self.path, json.loads(body)))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()


class Exporter(ThreadingHTTPServer):
    """Tells `text`, whatever is asked; `told`: what it ever told."""

    daemon_threads = True
    text = ""

    def __init__(self) -> None:
        self.told: set[str] = set()
        super().__init__(("127.0.0.1", 0), ExporterHandler)


class ExporterHandler(Silent):
    def do_GET(self) -> None:
        assert isinstance(self.server, Exporter)
        text = self.server.text
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())
        self.server.told.add(text)


class Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def show(app: Any, node: str) -> Any:
    """The intake behind a reverse proxy that knows the caller as this node."""
    return lambda environ, start: app({**environ, "HTTP_X_FARMLET_NODE": f"CN={node}"}, start)


@dataclass
class Pieces:
    """All of monitoring, with one node, `head`, that is asked each second."""

    root: Path
    exporter: Exporter = field(default_factory=Exporter)
    sink: Sink = field(default_factory=Sink)
    hook: Hook = field(default_factory=Hook)
    port: int = field(default_factory=find_port)  # of the store
    _stack: ExitStack = field(default_factory=ExitStack)
    _processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _commands: dict[str, Sequence[str]] = field(default_factory=dict)

    @property
    def store(self) -> Store:
        return Store(str(self.root / "store.sock"))

    def start(self, program: str, *words: str, name: str = "") -> None:
        name = name or program
        self._commands[name] = (program, *words)
        log = (self.root / f"{name}.log").open("ab")
        self._processes[name] = subprocess.Popen([program, *words], stdout=log, stderr=log, cwd=self.root)
        self._stack.callback(self.stop, name)

    def restart(self, name: str) -> None:
        self.stop(name)
        self.start(*self._commands[name], name=name)

    def find(self, name: str) -> int:
        """The number of its process."""
        return self._processes[name].pid

    def stop(self, name: str) -> None:
        if process := self._processes.pop(name, None):
            process.terminate()
            process.wait(20)

    def start_store(self) -> None:
        where = [f"-storageDataPath={self.root}/data", f"-httpListenAddr=127.0.0.1:{self.port}"]
        self.start("victoria-metrics", *where, "-search.latencyOffset=1s", "-memory.allowedBytes=48MB")

    def start_door(self) -> None:
        self._stack.enter_context(serve(Door(self.root / "store.sock", self.port)))

    def start_node(self, copies: Copies | None = None, every: str = "1s") -> None:
        """The exporter, vmagent, and what it hands its numbers to."""
        self._stack.enter_context(serve(self.exporter))
        self.start_agent("vmagent", "head", [self.exporter.server_port], copies, every)

    def start_agent(self, name: str, node: str, ports: Sequence[int], copies: Copies | None = None, every: str = "1s") -> None:
        """The vmagent `name` of a node, which asks what is on these ports, so often."""
        server = make_server("127.0.0.1", 0, show(Intake(self.store, NODES, copies), f"{node}.farmlet.test"), WSGIServer, Quiet)
        self._stack.enter_context(serve(server))
        target = {"targets": [f"127.0.0.1:{port}" for port in ports], "labels": {"node": "another"}}
        config = {"global": {"scrape_interval": every}, "scrape_configs": [{"job_name": "node", "static_configs": [target]}]}
        (self.root / f"{name}.json").write_text(json.dumps(config))
        words = [f"-promscrape.config={self.root}/{name}.json", f"-remoteWrite.tmpDataPath={self.root}/{name}.buffer"]
        to = f"-remoteWrite.url=http://127.0.0.1:{server.server_port}{PATH}"
        self.start("vmagent", *words, to, "-httpListenAddr=", "-remoteWrite.queues=1", name=name)

    def start_alarms(self, alerts: Mapping[str, Mapping[str, str]], nodes: Sequence[str] = ("head",)) -> None:
        """`alerts`: the shipped ones that are looked at, each second, with what is changed of them for a quick test."""
        self._stack.enter_context(serve(self.sink))
        self._stack.enter_context(serve(self.hook))
        found = [replace(alert, **alerts[alert.name]) for alert in rules.load() if alert.name in alerts]  # type: ignore[arg-type]
        (self.root / "rules.json").write_text(rules.render(found, nodes, "https://monitoring.farmlet.test/", 1))
        smtp = f"127.0.0.1:{self.sink.server_address[1]}"
        mail = {"to": ["admin@example.org"], "smtp": smtp, "from": "farmlet@example.org", "tls": False}
        hook = f"http://127.0.0.1:{self.hook.server_port}"
        section = Section.model_validate({"mail": mail, "webhooks": [f"{hook}/alarms"], "deadman": f"{hook}/deadman"})
        config = json.loads(json.dumps(notifier.describe(section)))
        for route in (config["route"], *config["route"]["routes"]):
            route |= {
                "group_wait": "1s",
                "group_interval": "1s",
                "repeat_interval": "1s" if route["receiver"] == "deadman" else "1h",
            }
        (self.root / "alarms.json").write_text(json.dumps(config))
        listen = find_port()
        words = [f"--config.file={self.root}/alarms.json", f"--storage.path={self.root}/state", "--cluster.listen-address="]
        self.start("prometheus-alertmanager", *words, f"--web.listen-address=127.0.0.1:{listen}")
        url = f"http://127.0.0.1:{self.port}"
        words = [f"-rule={self.root}/rules.json", f"-datasource.url={url}", f"-remoteWrite.url={url}", f"-remoteRead.url={url}"]
        about = [f"-notifier.url=http://127.0.0.1:{listen}", "-external.label=facility=lab", "-remoteWrite.flushInterval=1s"]
        self.start("vmalert", *words, *about, f"-httpListenAddr=127.0.0.1:{find_port()}")

    def close(self) -> None:
        self._stack.close()


def find_values(pieces: Pieces, query: str) -> list[dict[str, Any]]:
    """What the store answers, once it does."""
    with suppress(Away):
        return pieces.store.select_now(query)
    return []
