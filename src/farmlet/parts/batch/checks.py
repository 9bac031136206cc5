"""Whether the pool works, as HTCondor's own tools see it. Run by the node agent as root; standard library only."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Sequence
from pathlib import Path

from farmlet.runtime.checks import Failed, run

DAY = 86400


def check_collector(host: str) -> str:
    """Collector and negotiator are in the pool."""
    rows = run("condor_status", "-pool", host, "-any", "-af", "MyType").split()
    for kind in ("Collector", "Negotiator"):
        if kind not in rows:
            raise Failed(f"no {kind.lower()} in the pool of {host}")
    slots = rows.count("Machine") + rows.count("Slot")
    return f"{host}: collector, negotiator, {rows.count('Scheduler')} access points, {slots} slots"


def check_access(host: str) -> str:
    """The schedd of `host` answers, and the collector knows it."""
    jobs = run("condor_q", "-allusers", "-totals", "-af", "JobStatus").split()
    known = run("condor_status", "-schedd", "-constraint", f'Name == "{host}"', "-af", "Name").split()
    if host not in known:
        raise Failed(f"the collector does not know the schedd of {host}")
    return f"schedd of {host} is in the pool, {jobs.count('1')} jobs idle, {jobs.count('2')} running"


def check_execute(host: str) -> str:
    """The collector knows the slots of `host`."""
    rows = run("condor_status", "-constraint", f'Machine == "{host}"', "-af", "Name", "TotalSlotCpus", "State").splitlines()
    if not rows:
        raise Failed(f"the collector knows no slot of {host}")
    return f"{host}: {'; '.join(rows[:3])}"


def check_token(path: str, days: float = 3) -> str:
    """The token at `path` (a JWT, RFC 7519) lives for `days` more. Its signature is the collector's business."""
    try:
        text = Path(path).read_text().strip()
        part = text.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        left = (claims["exp"] - time.time()) / DAY
    except OSError as error:
        raise Failed(f"{path}: {error.strerror}") from error
    except (LookupError, ValueError, TypeError) as error:
        raise Failed(f"{path} is no token: {error!r}") from error
    evidence = f"{path}: {claims.get('sub')} for {left:.1f} more days"
    if left < days:
        raise Failed(evidence)
    return evidence


def check_outbox(outbox: str, item: str, nodes: Sequence[str]) -> str:
    """A token lies ready for each of `nodes`."""
    for node in nodes:
        check_token(str(Path(outbox, node, item)))
    return f"pool tokens ready for {', '.join(nodes) or 'no node'}"
