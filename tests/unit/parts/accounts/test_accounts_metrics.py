"""What is counted of accounts."""

from __future__ import annotations

import json
from pathlib import Path

from farmlet.parts.accounts.metrics import count_accounts
from farmlet.runtime.metrics import render


def test_accounts_by_state_without_names(tmp_path: Path) -> None:
    listing, faults = tmp_path / "accounts", tmp_path / "faults.json"
    listing.write_text(json.dumps([{"name": "ada", "state": "active"}, {"name": "bob", "state": "suspended"}]))
    faults.write_text(json.dumps(["ada: no"]))
    text = render(count_accounts(str(listing), str(faults)))
    assert 'farmlet_accounts{state="active"} 1.0' in text and 'farmlet_accounts{state="other"} 1.0' in text
    assert "farmlet_accounts_faults 1.0" in text and "ada" not in text
