"""Whether the pool works, as HTCondor's own tools see it. Run by the node agent as root; standard library only."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from farmlet.parts.batch.metrics import count_statuses
from farmlet.parts.batch.readers import find_key
from farmlet.runtime.checks import Failed, run
from farmlet.runtime.issuer.jwt import peek

DAY = 86400
READER_DAYS = 0.5


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
    jobs = count_statuses()
    known = run("condor_status", "-schedd", "-constraint", f'Name == "{host}"', "-af", "Name").split()
    if host not in known:
        raise Failed(f"the collector does not know the schedd of {host}")
    return f"schedd of {host} is in the pool, {jobs[1]} jobs idle, {jobs[2]} running"


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
    except OSError as error:
        raise Failed(f"{path}: {error.strerror}") from error
    return _check_life(path, text, days)


def _check_life(path: str, text: str, days: float) -> str:
    try:
        claims = peek(text)
        left = (claims["exp"] - time.time()) / DAY
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


def check_readers(outbox: str, item: str, nodes: Sequence[str], keys: Sequence[str]) -> str:
    """For each of `nodes` there are tokens that read, one of each of the `keys`."""
    for node in nodes:
        path = Path(outbox, node, item)
        try:
            tokens = {find_key(line): line for line in path.read_text().splitlines()}
        except (OSError, ValueError) as error:
            raise Failed(f"{path}: {error}") from error
        if missing := sorted(set(keys) - set(tokens)):
            raise Failed(f"{path}: no token of {', '.join(missing)}: the queue there cannot be read from elsewhere")
        for key in keys:
            _check_life(f"{path}, {key}", tokens[key], READER_DAYS)
    return f"tokens that read of {', '.join(keys)} ready for {', '.join(nodes)}"
