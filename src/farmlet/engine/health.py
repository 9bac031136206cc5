"""Whether a facility works: its checks, run now by the node agents' own code, on the nodes where they must hold."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from farmlet.engine.deployment import Deployment
from farmlet.errors import Errors, FarmletError, InputError
from farmlet.parts import units

# it ends with 1 when a check fails; the results are what counts. The agent is told to look too, so that what
# `farmlet status` shows next is no older than this.
CHECK = f"{units.NODE}/bin/python -m farmlet.parts.base.agent --check"
AGENT = ("sh", "-c", f"{CHECK}; code=$?; systemctl reload farmlet-agent.service; [ $code -le 1 ]")
SETTLE_SECONDS = 90.0  # certificates and tokens reach the nodes, daemons find each other
PAUSE = 0.5


def check_now(deployment: Deployment, names: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Run all checks (or those named, or of the parts named): [{"check", "node", "ok", "seconds", "evidence"}].

    Nodes that were away from the `up` just made are not asked.
    """
    nodes = [node for node in deployment.facility.nodes if node not in deployment.away]
    with ThreadPoolExecutor(max_workers=8) as pool:
        results = [row for rows in pool.map(lambda node: _check_node(deployment, node), nodes) for row in rows]
    found = [row for row in results if not names or any(f"{row['check']}.".startswith(f"{name}.") for name in names)]
    if names and not found:
        known = sorted({row["check"] for row in results})
        raise InputError(f"check {' '.join(names)}", "there is no such check", f"checks: {', '.join(known)}")
    return found


def _check_node(deployment: Deployment, node: str) -> list[dict[str, Any]]:
    try:
        rows = json.loads(deployment.run(node, AGENT, timeout=60))
    except (FarmletError, ValueError) as error:
        evidence = error.what if isinstance(error, FarmletError) else str(error)
        return [{"check": "base.agent", "node": node, "ok": False, "seconds": 0.0, "evidence": evidence}]
    keys = ("check", "ok", "seconds", "evidence")
    return [{"node": node} | {key: row[key] for key in keys} for row in rows]


def wait_healthy(deployment: Deployment, seconds: float = SETTLE_SECONDS) -> None:
    """Wait until every check of the facility's own holds; Errors with the evidence of those that do not.

    Others that do not hold are told, and that is all.
    """
    end, outside = time.monotonic() + seconds, deployment.layout.outside
    with deployment.report.phase("checks"):
        while True:
            rows = [row for row in check_now(deployment) if not row["ok"]]
            failed = [row for row in rows if row["check"] not in outside]
            if not failed:
                break
            if time.monotonic() > end:
                hint = "farmlet logs; farmlet check"
                raise Errors([FarmletError(f"{row['node']}: {row['check']}", row["evidence"], hint) for row in failed])
            time.sleep(PAUSE)
    for row in rows:
        deployment.report.say(f"  ! {row['node']}: {row['check']}: {row['evidence']}")
