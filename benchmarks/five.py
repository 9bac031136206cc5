"""`farmlet demo` five times in a row; each must succeed."""

from __future__ import annotations

import json

from record import farmlet, record

farmlet("up")
values, masses = [], []
for _ in range(5):
    answer = json.loads(farmlet("demo", "--json"))
    assert answer["ok"], answer
    values.append(sum(step["seconds"] for step in answer["steps"]))
    masses.append(answer["result"])
record("farmlet demo, five in a row", "5 of 5 green", "s", values, "registration to the fitted peak and back to an empty pool")
