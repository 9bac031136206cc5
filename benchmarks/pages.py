"""How long our monitoring pages take with a month of numbers of 100 nodes in a real VictoriaMetrics, set up as in a facility.

A sandbox gives its images, and the series that its nodes have: 100 nodes get those that pages of the whole
facility read, ten of them all that a page reads. The store is filled by its import as fast as it takes it, a number every
INTERVAL seconds, for DAYS days; DATA=FOLDER keeps it for another run. The pages are asked as gunicorn asks them, in this process.
"""

from __future__ import annotations

import json
import os
import random
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from logins import facility
from record import record

from farmlet.parts.monitoring.pages import store as stores
from farmlet.parts.monitoring.pages.board import RANGES, Board, Content
from farmlet.parts.monitoring.panels import RECORDED, is_wide, name_record
from farmlet.parts.monitoring.panels import fill as fill_in
from farmlet.parts.monitoring.store import limit, load_panels, load_yaml
from farmlet.web.guard import PERSON
from farmlet.web.login import Person

NODES, FULL = 100, 10
INTERVAL, DAYS = int(os.environ.get("INTERVAL", "60")), int(os.environ.get("DAYS", "30"))
REPEATS = int(os.environ.get("REPEATS", "20"))
NAME, PORT = "farmlet-bench-store", 18428
WORDS = "-storageDataPath=/data -retentionPeriod=60d"
URL = f"http://127.0.0.1:{PORT}"
CHUNK = 1440  # numbers of a series at a time
PATTERNS = 12


def find_series(container: str, node: str) -> list[dict[str, str]]:
    """The labels of all series of a node that panels read."""
    names = {name for panel in load_panels() for name in re.findall(r"\b(?:node|farmlet)_\w+|\bup\b", panel["query"])}
    match = f'{{__name__=~"{"|".join(sorted(names))}",node="{node}"}}'
    command = ["curl", "-s", "--unix-socket", "/run/farmlet-store/store.sock", "http://store/api/v1/series", "--data-urlencode"]
    done = subprocess.run(["docker", "exec", container, *command, f"match[]={match}"], capture_output=True, check=True)
    found: list[dict[str, str]] = json.loads(done.stdout)["data"]
    return found


def multiply(series: list[dict[str, str]]) -> Iterator[dict[str, str]]:
    """Those of the head node for all, whole for some of them."""
    wide = "".join(panel["query"] for panel in load_panels() if panel["page"] not in ("node", "site"))
    for number in range(NODES):
        name = f"node{number:03}"
        for labels in series:
            if number < FULL or re.search(rf"\b{labels['__name__']}\b", wide):
                yield {**labels, "node": name, "instance": f"{name}.bench.test"}


def make(kind: str, count: int, level: float) -> tuple[str, float]:
    """A row of numbers as JSON, and the last of them."""
    if kind == "total":
        found = []
        for _ in range(count):
            level += random.random() * INTERVAL
            found.append(f"{level:.2f}")
        return ",".join(found), level
    if kind == "truth":
        return ",".join(["1"] * count), 1
    return ",".join(f"{1e9 + random.random() * 1e9:.0f}" for _ in range(count)), 0


def fill(series: list[dict[str, str]], now: int, interval: int = INTERVAL) -> int:
    """Import all; how many numbers."""
    levels, total = [0.0] * PATTERNS, 0
    kinds = [find_kind(labels["__name__"]) for labels in series]
    heads = [f'{{"metric":{json.dumps(labels)},"values":[' for labels in series]
    for start in range(now - DAYS * 86400, now, CHUNK * interval):
        times = range(start, min(now, start + CHUNK * interval), interval)
        stamps = ",".join(f"{at}000" for at in times)
        made = {
            (kind, one): make(kind, len(times), levels[one]) for kind in ("total", "truth", "gauge") for one in range(PATTERNS)
        }
        levels = [made["total", one][1] for one in range(PATTERNS)]
        for first in range(0, len(series), 500):
            rows = [
                f'{heads[at]}{made[kinds[at], at % PATTERNS][0]}],"timestamps":[{stamps}]}}'
                for at in range(first, min(len(series), first + 500))
            ]
            request = urllib.request.Request(f"{URL}/api/v1/import", data="\n".join(rows).encode(), method="POST")
            urllib.request.urlopen(request, timeout=600).close()
            total += len(rows) * len(times)
    urllib.request.urlopen(f"{URL}/internal/force_flush", timeout=60).close()
    return total


def find_end() -> float:
    """When the last numbers are from."""
    (row,) = stores.Store("").select_now("max(tlast_over_time(node_load1[60d]))")
    return float(row["value"][1])


def find_records() -> list[dict[str, str]]:
    """What vmalert has kept of panels: the labels of their lines now."""
    found = []
    for panel in filter(is_wide, load_panels()):
        query = fill_in(panel["query"], "", max(4 * INTERVAL, RECORDED))
        for row in stores.Store("").select_now(query, find_end()):
            found.append({**row["metric"], "__name__": name_record(panel), "facility": "bench"})
    return found


def find_kind(name: str) -> str:
    return "total" if name.endswith("_total") else "truth" if name.endswith(("_ok", "_open")) or name == "up" else "gauge"


def start(image: str, data: Path) -> None:
    words = ["-v", f"{data}:/data", "-p", f"127.0.0.1:{PORT}:8428", "-e", "GOMAXPROCS=1"]
    words += ["--entrypoint", "/usr/bin/victoria-metrics", image, *f"{WORDS} {limit(NODES)}".split()]
    subprocess.run(["docker", "run", "-d", "--name", NAME, *words], check=True, capture_output=True)
    for _ in range(100):
        try:
            urllib.request.urlopen(f"{URL}/health", timeout=2).close()
            return
        except OSError:
            time.sleep(0.2)
    sys.exit("the store does not start")


class Connection(stores.Connection):
    """Over TCP, since the container has the unix socket."""

    def connect(self) -> None:
        self.sock = socket.create_connection(("127.0.0.1", PORT), timeout=self.timeout)


def ask(board: Board, page: str, of: str, span: int) -> float:
    """Seconds until the whole answer is there."""
    environ = {
        "PATH_INFO": "/data",
        "QUERY_STRING": f"page={page}&of={of}&range={span}",
        PERSON: Person("x", "x", ("/lab/admins",)),
    }
    status: list[str] = []
    began = time.monotonic()
    body = b"".join(board(environ, lambda text, headers: status.append(text)))
    if not status[0].startswith("200"):
        sys.exit(f"{page} {of} {span}: {status[0]} {body[:300]!r}")
    return time.monotonic() - began


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, round(share * len(values)))]


def main() -> None:
    with facility() as sandbox:
        run(sandbox.container("service"))


def run(container: str) -> None:
    command = ["docker", "inspect", "--format", "{{.Image}}", container]
    image = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    stores.Connection = Connection  # type: ignore[misc]
    with tempfile.TemporaryDirectory() as folder:
        data = Path(os.environ.get("DATA") or folder)
        there = any(data.iterdir())
        try:
            start(image, data)
            if not there:
                fill_all(container)
            measure()
        finally:
            subprocess.run(["docker", "rm", "-f", NAME], capture_output=True)


def fill_all(container: str) -> None:
    everywhere, once = list(multiply(find_series(container, "head"))), find_series(container, "service")
    began, now = time.monotonic(), int(time.time())
    total = fill([*everywhere, *once], now)
    total += fill(find_records(), now, RECORDED)
    took = time.monotonic() - began
    print(f"{total / 1e6:.0f} million numbers of {len(everywhere) + len(once)} series in {took:.0f} s", flush=True)


def measure() -> None:
    # a kept store is of some time ago
    until = find_end()
    nodes = tuple(f"node{number:03}" for number in range(FULL))
    content = Content("Bench", load_panels(), [], nodes, ("tier1",), ("/lab/admins",), load_yaml("reports.yaml"), INTERVAL)
    board = Board(stores.Store(""), content, lambda: until)
    pages = [(page, of) for page, of in content.pages(True) if page not in ("node", "report")] + [("node", "node003")]
    load = f"load average {os.getloadavg()[0]:.0f} on {os.cpu_count()} cores"
    note = f"{NODES} nodes, {DAYS} days, a number every {INTERVAL} s; {', '.join(dict(pages))}; {load}"
    costs = {}
    for span in RANGES:
        times, what = {}, f"{span // 86400} d" if span >= 86400 else f"{span // 3600} h"
        for page, of in pages:
            before = spend()
            times[page] = [ask(board, page, of, span) * 1000 for _ in range(REPEATS)]
            costs[f"{page}, {what}"] = (spend() - before) / REPEATS * 1000
        flat = [value for values in times.values() for value in values]
        words = ", ".join(f"{page} {percentile(values, 0.5):.0f}" for page, values in times.items())
        told = f"{note}; medians: {words}"
        record(f"monitoring: pages of {what}, 95th percentile", "≤ 200 ms", "ms", [percentile(flat, 0.95)], told)
    most = max(costs, key=lambda name: costs[name])
    told = f"store and page together, of {most}, which costs most; {note}"
    record("monitoring: processor time of a page", "≤ 200 ms", "ms", [costs[most]], told)


def spend() -> float:
    """Processor seconds of the store and of this process."""
    with urllib.request.urlopen(f"{URL}/metrics", timeout=60) as answer:
        found = re.search(r"^process_cpu_seconds_total (\S+)", answer.read().decode(), re.MULTILINE)
    return time.process_time() + float(found[1] if found else 0)


if __name__ == "__main__":
    main()
