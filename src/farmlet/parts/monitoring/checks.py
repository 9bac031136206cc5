"""What must hold of the store. Run by the node agent as root; standard library only."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from farmlet.errors import FarmletError
from farmlet.parts.monitoring.pages.store import Store
from farmlet.runtime.checks import Failed

QUERY = 'max by (node) (tlast_over_time(up{job="node"}[1h]))'


def check_nodes(socket: str, nodes: Sequence[str], seconds: float) -> str:
    """Numbers of each node are in the store, and not older than `seconds`."""
    try:
        rows = Store(socket).select_now(QUERY)
    except FarmletError as error:
        raise Failed(f"{error.where} {error.what}") from error
    ages = {row["metric"].get("node"): time.time() - float(row["value"][1]) for row in rows}
    silent = [node for node in nodes if ages.get(node, seconds + 1) > seconds]
    if silent:
        raise Failed(f"no numbers for {seconds:.0f} s of: {', '.join(silent)}")
    return f"{len(nodes)} nodes, the oldest numbers are {max(ages[node] for node in nodes):.0f} s old"


def check_token(path: str, url: str) -> str:
    """The token of our service account in somebody's Grafana is on the node, for root alone."""
    place, what = Path(path), f"the token of a service account of {url} with the role Admin"
    try:
        found = place.stat()
    except OSError as error:
        raise Failed(f"{path} is missing: put {what} there") from error
    if not place.read_text().strip():
        raise Failed(f"{path} is empty: put {what} there")
    if found.st_uid or found.st_mode & 0o077:
        raise Failed(f"{path} is not for root alone: chown root:root {path}; chmod 600 {path}")
    return f"{path} holds {what}"


def check_run(state: str, config: str, token: str, seconds: float) -> str:
    """What is told of the Grafana is of this configuration and token, and not older than `seconds`."""
    found = _load(state)
    age = time.time() - float(found["at"])
    if found["config"] != hashlib.sha256(Path(config).read_bytes()).hexdigest() or found["at"] < Path(token).stat().st_mtime:
        raise Failed("it was not looked at since the facility file or the token changed: journalctl -u farmlet-grafana")
    if age > seconds:
        raise Failed(f"it was last looked at {age:.0f} s ago: journalctl -u farmlet-grafana")
    return f"looked at {age:.0f} s ago"


def check_grafana(state: str, url: str) -> str:
    """Our folder, data source and dashboards are there as they should be, as the last look saw; tells what was put back."""
    found = _load(state)
    if faults := found["faults"]:
        raise Failed(f"{url}: " + "; ".join(faults[:3]) + (f"; {len(faults) - 3} more" if faults[3:] else ""))
    told = f"{url} (Grafana {found['version'] or 'of unknown version'}): {found['count']} things of ours are as here"
    if last := found["last"]:
        more = f"; {len(last['what']) - 3} more" if last["what"][3:] else ""
        told += f"; {(time.time() - last['at']) / 60:.0f} min ago: {'; '.join(last['what'][:3])}{more}"
    return "; ".join((told, *found["notes"]))


def _load(path: str) -> Mapping[str, Any]:
    try:
        found: Mapping[str, Any] = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise Failed(f"{path}: {error}: journalctl -u farmlet-grafana") from error
    return found
