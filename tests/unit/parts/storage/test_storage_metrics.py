"""What is counted of a storage element."""

from __future__ import annotations

import json
from pathlib import Path

from farmlet.parts.storage.metrics import measure
from farmlet.parts.storage.usage import count
from farmlet.runtime.metrics import render


def test_the_disk_and_the_last_count(tmp_path: Path) -> None:
    root, counts = tmp_path / "data", tmp_path / "usage.json"
    (root / "users" / "ada").mkdir(parents=True)
    (root / "users" / "ada" / "file").write_bytes(bytes(17))
    before = render(measure(str(root), str(counts)))
    assert "farmlet_storage_free_bytes " in before and "used" not in before
    counts.write_text(json.dumps(count(root, [{"path": "/users/{user}", "groups": ["lab"]}])))
    text = render(measure(str(root), str(counts)))
    assert 'farmlet_storage_used_bytes{group="lab"} 17.0' in text and "ada" not in text
    assert "farmlet_storage_counted_timestamp_seconds " in text
