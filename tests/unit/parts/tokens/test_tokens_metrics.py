"""What is counted of credentials: who has no token though nothing is said against it."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path

from farmlet.parts.tokens.metrics import count_credentials


def make_token(end: float) -> bytes:
    return b"h." + base64.urlsafe_b64encode(json.dumps({"exp": end}).encode()).rstrip(b"=") + b".s"


def count(root: Path) -> dict[str, float]:
    return {one.labels["state"]: one.value for one in count_credentials(str(root))}


def test_credentials_by_state(tmp_path: Path) -> None:
    for name in ("ada", "bob", "eve", "dan"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "farmlet.top").write_text("{}")
    (tmp_path / "ada" / "farmlet.use").write_bytes(make_token(time.time() + 60))
    (tmp_path / "bob" / "farmlet.use").write_bytes(make_token(time.time() - 60))
    (tmp_path / "eve" / "farmlet.waits").write_text("{}")
    (tmp_path / "eve" / "x.refused").write_text("{}")
    assert count(tmp_path) == {"stored": 4, "refused": 1, "waiting": 1, "late": 2}  # bob and dan
    (tmp_path / "dan" / "farmlet.use").write_bytes(make_token(time.time() + 60))
    assert count(tmp_path)["late"] == 1
