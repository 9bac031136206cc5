"""What is counted of the overlay. Run by the node agent as root; standard library only.

A label is a site of the facility file, or a state that TARDIS or HTCondor has: what a drone says of itself makes no new one.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from farmlet.runtime.checks import run
from farmlet.runtime.metrics import Sample

DRONES = """SELECT site_name, state, COUNT(*) FROM Resources JOIN Sites USING (site_id) JOIN ResourceStates USING (state_id)
GROUP BY site_name, state"""  # TARDIS 0.9, plugins/sqliteregistry.py
# its states as people say them; the others pass within a moment
STATES = {"BootingState": "ordered", "AvailableState": "available", "DrainingState": "draining"}


def count_drones(registry: str, told: str, sites: Sequence[str]) -> list[Sample]:
    """The drones of each site by state, as TARDIS keeps them, and how many cores of drones the queues ask for."""
    counts = Counter(dict.fromkeys(((site, state) for site in sites for state in (*STATES.values(), "other")), 0))
    with closing(sqlite3.connect(f"file:{registry}?mode=ro", uri=True, timeout=2)) as database:
        for site, state, count in database.execute(DRONES):
            if site in sites and state != "DownState":
                counts[site, STATES.get(state, "other")] += count
    found = [
        Sample("overlay_drones", count, {"site": site, "state": state}, help="drones that TARDIS keeps")
        for (site, state), count in counts.items()
    ]
    wanted = json.loads(Path(told).read_text())["demand"]
    return [*found, Sample("overlay_demand", wanted, unit="cores", help="cores of drones that the queues ask for")]


def count_slots(host: str, sites: Sequence[str]) -> list[Sample]:
    """The slots of drones at each site that run a job, and those that do not, as the collector of `host` knows them."""
    said = run("condor_status", "-pool", host, "-constraint", "FarmletSite =!= undefined", "-af", "FarmletSite", "State")
    counts = Counter(dict.fromkeys(((site, state) for site in sites for state in ("claimed", "idle")), 0))
    for site, _, state in (line.partition(" ") for line in said.splitlines()):
        if site in sites:
            counts[site, "claimed" if state == "Claimed" else "idle"] += 1
    help_ = "slots of drones"
    return [Sample("overlay_slots", count, {"site": site, "state": state}, help=help_) for (site, state), count in counts.items()]
