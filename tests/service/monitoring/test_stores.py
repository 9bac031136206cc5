"""Further stores and writers, with the real ones: InfluxDB gets what nodes hand in, VictoriaMetrics what writers send."""

from __future__ import annotations

import base64
import json
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from typing import Any
from wsgiref.simple_server import WSGIServer, make_server

import pytest
from pieces import Door, Pieces, Quiet, find_values

from farmlet.parts.monitoring.config import Section
from farmlet.parts.monitoring.pages.copies import Copies
from farmlet.parts.monitoring.pages.readers import Readers
from farmlet.parts.monitoring.pages.store import Store
from farmlet.parts.monitoring.pages.writers import Writers
from farmlet.parts.monitoring.relay import write_flags
from waiting import find_port, serve, until

pytestmark = [pytest.mark.service, pytest.mark.timeout(300)]
CONFIG = """\
reporting-disabled = true
bind-address = "127.0.0.1:{rpc}"
[meta]
dir = "{root}/influx/meta"
[data]
dir = "{root}/influx/data"
wal-dir = "{root}/influx/wal"
[http]
bind-address = "127.0.0.1:{port}"
auth-enabled = true
"""


class Influx:
    """InfluxDB 1 of Debian that wants to know who asks, with the database `lab`."""

    def __init__(self, pieces: Pieces) -> None:
        self.port, self.pieces = find_port(), pieces
        (pieces.root / "influx.conf").write_text(CONFIG.format(root=pieces.root, port=self.port, rpc=find_port()))
        self.start()
        until(lambda: self.tries("CREATE USER admin WITH PASSWORD 'geheim' WITH ALL PRIVILEGES"))
        self.ask("CREATE DATABASE lab")

    def start(self) -> None:
        self.pieces.start("influxd", "-config", str(self.pieces.root / "influx.conf"))

    def tries(self, query: str) -> bool:
        try:
            self.ask(query)
        except OSError:
            return False
        return True

    def ask(self, query: str) -> list[dict[str, Any]]:
        body = urllib.parse.urlencode({"q": query, "db": "lab"}).encode()
        basic = base64.b64encode(b"admin:geheim").decode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/query", body, {"Authorization": f"Basic {basic}"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            found: list[dict[str, Any]] = json.load(answer)["results"][0].get("series", [])
        return found


def start_relay(pieces: Pieces, port: int, influx: Influx) -> None:
    """As `relay.service` has it, by what this machine's vmagent knows: that of Debian 12 speaks no other protocol yet."""
    (pieces.root / "password").write_text("geheim")
    wanted = {"url": f"http://127.0.0.1:{influx.port}/api/v1/prom/write?db=lab", "user": "admin", "password_file": "/x"}
    also = Section.model_validate({"also": [wanted]}).also
    words = write_flags(also, [f"127.0.0.1:{influx.port}"], [f"{pieces.root}/password"])
    done = subprocess.run(["vmagent", "-help"], capture_output=True, text=True)
    words = [word for word in words if f"{word.partition('=')[0]} " in done.stdout + done.stderr]
    assert len(words) >= 5
    buffer = f"-remoteWrite.tmpDataPath={pieces.root}/also"
    pieces.start("vmagent", *words, f"-httpListenAddr=127.0.0.1:{port}", buffer, name="relay")


def test_influxdb_gets_what_nodes_hand_in_also_what_came_while_it_was_away(pieces: Pieces) -> None:
    pieces.start_store()
    pieces.start_door()
    influx, port = Influx(pieces), find_port()
    with serve(Door(pieces.root / "also.sock", port)):
        pieces.exporter.text = "farmlet_number 1\n"
        pieces.start_node(Copies(Store(str(pieces.root / "also.sock"))))
        until(lambda: "farmlet_number 1\n" in pieces.exporter.told)
        start_relay(pieces, port, influx)
        (first,) = until(lambda: influx.ask("SELECT * FROM farmlet_number LIMIT 1"))
        row = dict(zip(first["columns"], first["values"][0], strict=True))
        assert (row["node"], row["value"]) == ("head", 1)  # the name that its certificate says, as in our own store
        pieces.stop("influxd")
        pieces.exporter.text = "farmlet_number 2\n"
        until(lambda: "farmlet_number 2\n" in pieces.exporter.told)
        pieces.exporter.text = "farmlet_number 3\n"
        until(lambda: [row["value"][1] for row in find_values(pieces, "farmlet_number")] == ["3"])  # ours goes on
        influx.start()
        until(lambda: influx.tries("SHOW DATABASES") and influx.ask("SELECT * FROM farmlet_number WHERE value = 3"))
        until(lambda: influx.ask("SELECT * FROM farmlet_number WHERE value = 2"))


def test_lines_of_a_writer_are_in_the_store_under_its_name(pieces: Pieces) -> None:
    pieces.start_store()
    pieces.start_door()
    server = make_server("127.0.0.1", 0, Writers(pieces.store, {"telegraf": "t" * 64}), WSGIServer, Quiet)
    with serve(server):
        url = f"http://127.0.0.1:{server.server_port}/influx/write?db=x"
        lines = b"tardis_pool,site=tier1,writer=me supply=4,demand=7i\n"
        until(lambda: post(url, lines, "t" * 64) == 204)
        rows = until(lambda: find_values(pieces, '{__name__=~"tardis_pool_.*"}'))
        found = {row["metric"]["__name__"]: (row["metric"]["writer"], row["metric"]["site"], row["value"][1]) for row in rows}
        answer = Readers(pieces.store, {"grafana": "r" * 64})
        environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/prometheus/api/v1/label/writer/values", "QUERY_STRING": ""}
        said = answer({**environ, "HTTP_AUTHORIZATION": f"Bearer {'r' * 64}"}, lambda status, _: None)
        assert json.loads(b"".join(said)) == {"status": "success", "data": ["telegraf"]}
        assert found == {"tardis_pool_supply": ("telegraf", "tier1", "4"), "tardis_pool_demand": ("telegraf", "tier1", "7")}


def post(url: str, lines: bytes, token: str) -> int:
    request = urllib.request.Request(url, lines, {"Authorization": f"Token {token}"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
