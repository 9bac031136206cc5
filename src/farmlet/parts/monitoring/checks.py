"""What must hold of the store. Run by the node agent as root; standard library only."""

from __future__ import annotations

import time
from collections.abc import Sequence

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
