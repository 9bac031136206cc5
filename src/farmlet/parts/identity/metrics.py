"""What is counted of the identity service, from its audit log. Run by the node agent as root; standard library only.

Of single members nothing: how many there are, never who.
"""

from __future__ import annotations

import time
from functools import lru_cache
from pathlib import Path

from farmlet.runtime import audit
from farmlet.runtime.metrics import Sample

MONTH = 30 * 86400
PAUSE = 300  # seconds between two readings: a month of a log is long
# the member was there: a log-in of a web page or of a device
ACTIVE = ("code.issued", "device.allowed")
DAY = ("login.failed", "token.minted")  # the latter is break-glass


def count_activity(path: str) -> list[Sample]:
    """Members who logged in within 30 days, and of some events how many there were in the last day."""
    return list(_count(path, int(time.time() / PAUSE)))


@lru_cache(maxsize=1)
def _count(path: str, now: int) -> tuple[Sample, ...]:
    at, log = time.time(), Path(path)
    members = {row["member"] for event in ACTIVE for row in audit.find(log, event, at - MONTH)}
    found = [Sample("identity_active_members", len(members), help="members who logged in within 30 days")]
    for event in DAY:
        count = sum(1 for _ in audit.find(log, event, at - 86400))
        found.append(Sample("identity_events", count, {"event": event}, help="decisions within a day"))
    return tuple(found)
