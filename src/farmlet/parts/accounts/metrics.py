"""What is counted of accounts. Run by the node agent as root; standard library only. Of single members nothing."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from farmlet.runtime.metrics import Sample
from farmlet.runtime.rows import read


def count_accounts(listing: str, faults: str) -> list[Sample]:
    """The accounts by state, as the daemon lists them, and how many things it could not do."""
    states = Counter(str(account["state"]) for account in read(Path(listing).read_bytes()))
    counts = {"active": states["active"], "other": states.total() - states["active"]}
    found = [Sample("accounts", count, {"state": state}, help="accounts of members") for state, count in counts.items()]
    return [*found, Sample("accounts_faults", len(json.loads(Path(faults).read_text())), help="what the daemon could not do")]
