"""Grafana's dashboards are those of the panels, and what its schema knows."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard
from tools import dashboards

from farmlet.parts.monitoring.pages.readers import Readers
from farmlet.parts.monitoring.pages.store import Store
from farmlet.parts.monitoring.store import load_panels

NAMES = sorted({panel["page"] for panel in load_panels()})


@pytest.mark.parametrize("name", NAMES)
def test_a_dashboard_is_in_step_and_reads_as_one(name: str) -> None:
    text = (dashboards.FOLDER / f"{name}.json").read_text()
    assert text == dashboards.make(name), "python -m tools.dashboards"
    found = Dashboard.from_json(json.loads(text))
    # what the schema does not know would be lost here
    assert JSONEncoder(sort_keys=True, indent=1).encode(found) + "\n" == text
    panels = [panel for panel in load_panels() if panel["page"] == name]
    assert [panel["title"] for panel in json.loads(text)["panels"]] == [panel["title"] for panel in panels]
    links = [[link["url"] for link in panel.get("links", [])] for panel in json.loads(text)["panels"]]
    assert links == [[f"${{monitoring}}/#{panel['alarm']}"] if "alarm" in panel else [] for panel in panels]
    assert "$window" not in text and ("$node" in text) == (name == "node") and ("$site" in text) == (name == "site")


def test_there_are_no_others() -> None:
    assert sorted(path.stem for path in dashboards.FOLDER.glob("*.json")) == NAMES


class Made(Store):
    def __init__(self) -> None:
        super().__init__("")
        self.asked = list[tuple[str, str, bytes]]()

    def pass_on(self, path: str, query: str, form: bytes) -> tuple[int, bytes]:
        self.asked.append((path, query, form))
        return 200, b"{}"


def ask(app: Readers, path: str, method: str = "GET", query: str = "", token: str = "r" * 64, body: bytes = b"") -> int:
    said: list[str] = []
    environ: Mapping[str, Any] = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "HTTP_AUTHORIZATION": f"Bearer {token}",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
    }
    list(app(environ, lambda status, _: said.append(status)))
    return int(said[0][:3])


def test_a_reader_asks_and_does_nothing_else() -> None:
    app = Readers(store := Made(), {"grafana": "r" * 64})
    assert ask(app, "/prometheus/api/v1/query", query="query=up") == 200
    assert ask(app, "/prometheus/api/v1/query_range", "POST", body=b"query=up") == 200
    assert ask(app, "/prometheus/api/v1/label/node/values") == 200
    asked = [("/api/v1/query", "query=up", b""), ("/api/v1/query_range", "", b"query=up"), ("/api/v1/label/node/values", "", b"")]
    assert store.asked == asked
    for path in (
        "/prometheus/api/v1/write",
        "/prometheus/api/v1/import",
        "/prometheus/api/v1/admin/tsdb/delete_series",
        "/prometheus/",
    ):
        assert ask(app, path, "POST") == 404
    assert ask(app, "/prometheus/api/v1/label/../admin/values") == 404
    assert ask(app, "/prometheus/api/v1/query", token="x") == 401 and ask(app, "/prometheus/api/v1/query", "DELETE") == 404
    assert ask(app, "/prometheus/api/v1/query", "POST", body=b"x" * 70000) == 413 and store.asked == asked
