"""How many members were there within a month, from a real audit log."""

from __future__ import annotations

from pathlib import Path

import pytest

from farmlet.parts.identity import metrics
from farmlet.runtime import audit


def test_who_was_active_counts_once_and_has_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "audit.log"
    with monkeypatch.context() as patch:
        patch.setattr(audit.time, "time", lambda: 1000.0)
        audit.append(log, "code.issued", member="old")
    for member in ("ada", "ada", "bob"):
        audit.append(log, "device.allowed", member=member)
    audit.append(log, "login.failed", member="eve", address="x")
    metrics._count.cache_clear()
    found = {(one.name, *one.labels.values()): one.value for one in metrics.count_activity(str(log))}
    assert found["identity_active_members",] == 2
    assert found["identity_events", "login.failed"] == 1 and found["identity_events", "token.minted"] == 0
    assert metrics.count_activity(str(tmp_path / "none"))[0].value in (0, 2)
