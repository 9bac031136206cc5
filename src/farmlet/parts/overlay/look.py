"""Why sites may have no drone for a job, as JSON: the control node's half of `farmlet explain job`.

    python -I -m farmlet.parts.overlay.look '{"registry", "told", "gates", "pauses": {site: file}}'

{"sites": {NAME: {"closed": why, or "", "pause": as `checks.read_pause` says it, "ordered": [when, seconds since 1970]}},
"untaken": [jobs]}. Run by root; standard library only.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from farmlet.parts import gate
from farmlet.parts.overlay.checks import read_pause

# TARDIS 0.9, plugins/sqliteregistry.py: times are the node's own
DRONES = """SELECT site_name, state, created FROM Resources JOIN Sites USING (site_id) JOIN ResourceStates USING (state_id)
ORDER BY created"""
COMING = ("RequestState", "BootingState", "IntegrateState", "IntegratingState")


def look(registry: str, told: str, gates: str, pauses: Mapping[str, str]) -> dict[str, Any]:
    """What cannot be read is not told."""
    sites: dict[str, dict[str, Any]] = {}
    for name, pause in pauses.items():
        found = gate.load(Path(gates), name)
        closed = "" if found is None or gate.is_open(Path(gates), name) else found.reason or "no reason is told"
        sites[name] = {"closed": closed, "pause": read_pause(Path(pause), time.time()), "ordered": []}
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"file:{registry}?mode=ro", uri=True, timeout=2)) as database:
        for name, state, created in database.execute(DRONES):
            if name in sites and state in COMING:
                sites[name]["ordered"].append(datetime.fromisoformat(created).timestamp())
    untaken: list[Any] = []
    with suppress(OSError, ValueError, KeyError, TypeError):
        untaken = list(json.loads(Path(told).read_bytes())["untaken"])
    return {"sites": sites, "untaken": untaken}


def main(words: Sequence[str]) -> int:
    print(json.dumps(look(**json.loads(words[0]))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
