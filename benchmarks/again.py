"""`up` again when nothing changed, with drift looked for; and `status`. $FARMLET_FACILITY names another than the sandbox."""

from __future__ import annotations

import json
from typing import Any

from record import farmlet, record, timed

RUNS = 5
farmlet("up")
again, answers = [], []


def up() -> None:
    answers.append(json.loads(farmlet("up", "--json")))


for _ in range(RUNS):
    again.append(timed(up))
operations: list[Any] = [answer["operations"] for answer in answers]
if any(operations):
    raise SystemExit(f"something differed in each run: {operations} operations")
record("up again, nothing changed", "≤ 10 s", "s", again, "every resource of every node looked at, 0 operations, checks run")
record("status", "≤ 2 s", "s", [timed(lambda: farmlet("status")) for _ in range(RUNS)])
