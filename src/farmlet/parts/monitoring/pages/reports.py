"""What admins are asked: tables out of the store, and the same as CSV. Labels are names of the facility file, never members'."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from farmlet.parts.monitoring.pages.store import Store

RANGES = (86400, 7 * 86400, 30 * 86400, 90 * 86400, 365 * 86400)  # seconds
USUAL = RANGES[2]


class Reports:
    """`reports`: as `reports.yaml` has them."""

    def __init__(self, store: Store, reports: Sequence[Mapping[str, Any]]) -> None:
        self._store, self._reports = store, reports

    def look(self, now: float, span: int, name: str = "") -> list[dict[str, Any]]:
        """All of them, or one: {"name", "title", "unit", "columns", "rows": [[label…, number]…]}. Raises Away."""
        found = []
        for report in self._reports:
            if name in ("", report["name"]):
                columns = [*(["until"] if "every" in report else []), *report["columns"], report["unit"]]
                rows = sorted(self._ask(report, now, span), key=lambda row: [str(cell) for cell in row[:-1]])
                found.append({"name": report["name"], "title": report["title"], "columns": columns, "rows": rows})
        return found

    def _ask(self, report: Mapping[str, Any], now: float, span: int) -> Iterator[list[Any]]:
        query = report["query"].replace("$range", f"{span}s")
        if every := report.get("every"):
            # each row ends a whole step before the next, the last one now
            for row in self._store.select(query, now - max(0, span // every - 1) * every, now, every):
                yield from ([time.strftime("%Y-%m-%d", time.gmtime(at)), round(float(text), 3)] for at, text in row["values"])
            return
        for row in self._store.select_now(query, now):
            number = float(row["value"][1])
            if number == number:  # a share of nothing is none
                yield [*(row["metric"].get(column, "") for column in report["columns"]), round(number, 3)]


def write_csv(report: Mapping[str, Any]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows([report["columns"], *report["rows"]])
    return text.getvalue()
