"""The accounts daemon for 10 000 members in 300 groups: our identity service, a real OpenLDAP, the daemon as nodes run it.

Nothing stands in for anything but the place: all on this machine, identity on core 0, the directory in a temporary folder.
$FARMLET_MEMBERS: how many members (default 10000).
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from issuers import ours
from issuers.server import Server
from record import ROOT, record

sys.path.insert(0, str(ROOT / "src"))
sys.path.insert(0, str(ROOT / "tests"))
sys.path.insert(0, str(ROOT / "tests" / "service"))
sys.path.insert(0, str(ROOT / "tests" / "service" / "accounts"))
sys.path.append("/usr/lib/python3/dist-packages")  # python-ldap has no wheel
import slapd
import test_agent

from farmlet.parts.accounts import daemon

MEMBERS = int(os.environ.get("FARMLET_MEMBERS", "10000"))
GROUPS = 300
BASE = "dc=farmlet,dc=test"
PYTHON = "/usr/bin/python3"  # Debian's, as on nodes
ROUNDS = 5
# each of the smaller groups has one member in a hundred
SPREAD = """
INSERT INTO identity_member_groups (member_id, group_id) SELECT m.id, g.id FROM identity_member m, identity_group g
WHERE g.path LIKE 'team-%' AND abs(random()) % 100 = 0
"""
HOW = f"{MEMBERS} members of {GROUPS} groups, one of them of all; OpenLDAP over its unix socket"


def main() -> None:
    ours.GROUPS = ("lab", "lab/production", *(f"team-{number:03d}" for number in range(GROUPS - 2)))
    with tempfile.TemporaryDirectory(prefix="farmlet-bench-") as name, ours.build(Path(name) / "identity") as identity:
        fill(identity)
        firsts = []
        for number in range(3):
            with slapd.serve() as directory:
                folder = Path(name) / str(number)
                firsts.append(measure_first(identity, directory, folder))
                if number == 2:
                    record(
                        "accounts: first reconciliation",
                        "≤ 60 s",
                        "s",
                        firsts,
                        f"from the daemon's start to the nodes' list; {HOW}",
                    )
                    record_changes(identity, folder)
                    record_idle(folder)
                    record_agent(folder)


def fill(identity: Server) -> None:
    ours.fill(identity, MEMBERS - 100)
    with sqlite3.connect(identity.folder / "db.sqlite3") as database:
        database.execute(SPREAD)


def measure_first(identity: Server, directory: slapd.Running, folder: Path) -> float:
    """Seconds of the first pass of a daemon that begins with an empty directory."""
    configure(identity, directory, folder)
    began = time.monotonic()
    with start(folder):
        wait(lambda: (folder / "accounts").exists())
        return time.monotonic() - began


def record_changes(identity: Server, folder: Path) -> None:
    """How soon a running daemon has carried out a change, and its memory."""
    with start(folder) as process:
        time.sleep(15)  # its first pass, with nothing to change
        ends = [change(identity, folder, verb) for verb in ("suspend", "resume") * ROUNDS]
        record(
            "accounts: one change",
            "≤ 1 s",
            "s",
            ends,
            f"from identity's audit log through the directory to the nodes' list; {HOW}",
        )
        status = Path(f"/proc/{process.pid}/status").read_text()
        peak = int(status.partition("VmHWM:")[2].split()[0]) / 1024
        record("accounts: memory of the daemon", "≤ 150 MB", "MiB", [peak], f"the most it ever had; {HOW}")


def change(identity: Server, folder: Path, verb: str) -> float:
    """Seconds until the directory has what is done to a member of the largest group, and then the nodes' list."""
    listing = folder / "accounts"
    before = listing.stat().st_mtime
    identity.run("-m", ours.MODULE, "--config", str(identity.folder / "identity.json"), "member", verb, "user7")
    wait(lambda: listing.stat().st_mtime != before)
    at = json.loads((identity.folder / "audit.log").read_text().splitlines()[-1])["at"]
    return listing.stat().st_mtime - float(at)


def record_idle(folder: Path) -> None:
    """A whole pass when nothing is to be changed: all members read, all entries compared."""
    os.environ["CREDENTIALS_DIRECTORY"] = str(folder)
    values, own = [], []
    for _ in range(ROUNDS):
        one = daemon.load(folder / "accounts.json")
        began, worked = time.monotonic(), time.process_time()
        changed = one.sync()
        values.append(time.monotonic() - began)
        own.append(time.process_time() - worked)
        if changed:
            raise SystemExit(f"something was to be changed: {changed[:3]}")
    record(
        "accounts: idle pass",
        "≤ 5 s",
        "s",
        values,
        f"all members read, every entry compared; {median(own):.1f} s of it are the daemon's own work; "
        f"load average {os.getloadavg()[0]:.0f}; {HOW}",
    )


def record_agent(folder: Path) -> None:
    """A node's agent that is sent the whole list, makes the homes, and looks again at what becomes of them."""
    listing, peaks = (folder / "accounts").read_bytes(), []
    for number in range(3):
        site = test_agent.Site(folder / f"node{number}")
        try:
            home = site.root / "home"
            places = {"homes": str(home), "scratch": str(site.root / "scratch"), "first_uid": 1000}
            package = "farmlet.parts.accounts"
            here = {"node": "head", "flush": False}
            site.write("homes.json", apply={"accounts": {"call": f"{package}.homes.homes:apply", "args": places | here}})
            keeping = places | {"days": 90, "usage": str(site.root / "usage")}
            site.write(
                "keeping.json", apply={"accounts": {"call": f"{package}.homes.keeping:apply", "args": keeping, "again": True}}
            )
            (site.data / "outbox/all/accounts").write_bytes(listing)
            agent = site.start()
            wait(lambda site=site: (site.root / "usage").exists())
            status = Path(f"/proc/{agent.pid}/status").read_text()
            peaks.append(int(status.partition("VmHWM:")[2].split()[0]) / 1024)
        finally:
            site.close()
    note = f"the most it ever had, with a list of {len(listing) / 1e6:.1f} MB and as many homes made; {HOW}"
    record("accounts: memory of a node's agent", "≤ 40 MB", "MiB", peaks, note)


def configure(identity: Server, directory: slapd.Running, folder: Path) -> None:
    folder.mkdir()
    (folder / daemon.CREDENTIAL).write_text((identity.folder / "secret").read_text())
    config: dict[str, Any] = {
        "source": {"issuer": identity.url, "client": "bench"},
        "server": {"uri": directory.uri},
        "base": BASE,
        "homes": "/home",
        "shell": "/bin/bash",
        "rights": json.loads((identity.folder / "identity.json").read_text())["rights"],
        "outbox": str(folder),
        "first_uid": 20000,
        "tombstones": str(folder / "tombstones.json"),
        "faults": str(folder / "faults.json"),
        "seen": str(folder / "seen.json"),
    }
    (folder / "accounts.json").write_text(json.dumps(config))


@contextmanager
def start(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The daemon, until the end of the block."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "CREDENTIALS_DIRECTORY": str(folder)}
    words = [PYTHON, "-m", "farmlet.parts.accounts.daemon", "--config", str(folder / "accounts.json")]
    with (folder / "log").open("ab") as log, subprocess.Popen(words, env=environment, stderr=log) as process:
        try:
            yield process
        finally:
            process.terminate()


def wait(done: Callable[[], bool], seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            raise SystemExit(f"nothing came of it in {seconds:.0f} s")
        time.sleep(0.01)


if __name__ == "__main__":
    main()
