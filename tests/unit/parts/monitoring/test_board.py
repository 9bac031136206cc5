"""The page's data and the intake, before a store that a test makes up."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import pytest

from farmlet.parts.monitoring import rules
from farmlet.parts.monitoring.pages.board import MOST, Board
from farmlet.parts.monitoring.pages.intake import BODY_BYTES, PATH, Intake
from farmlet.parts.monitoring.pages.store import Away, Store
from farmlet.parts.monitoring.store import load_panels
from farmlet.web.guard import PERSON
from farmlet.web.login import Person

PANELS = [
    {"title": "Load", "page": "node", "unit": "none", "query": 'node_load1{node="$node"}'},
    {"title": "All", "page": "facility", "unit": "none", "query": "rate(x[$window])"},
]
UNITS = {"percent", "bytes", "rate", "count", "seconds", "none"}


class Made(Store):
    """Answers each question with the same rows and keeps what it was asked."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        super().__init__("")
        self.rows, self.asked, self.written = rows, [], []  # type: ignore[var-annotated]

    def select(self, query: str, start: float, end: float, step: float) -> list[dict[str, Any]]:
        self.asked.append((query, start, end, step))
        return self.rows

    def select_now(self, query: str) -> list[dict[str, Any]]:
        return [{"metric": {"alertname": "A", "severity": "critical", "alertstate": "firing", "node": "head"}, "value": [0, "1"]}]

    def write(self, node: str, body: bytes, headers: Mapping[str, str]) -> int:
        self.written.append((node, body, headers))
        return 204


def ask(app: Any, path: str, query: str = "", **more: Any) -> tuple[str, dict[str, str], bytes]:
    said: list[Any] = []
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": path, "QUERY_STRING": query, PERSON: Person("s", "ada<b>"), **more}
    body = b"".join(app(environ, lambda status, headers: said.extend((status, dict(headers)))))
    return said[0], said[1], body


def make_board(rows: list[dict[str, Any]]) -> tuple[Board, Made]:
    store = Made(rows)
    alarms = [{"name": "A", "severity": "critical", "runbook": {"meaning": "m"}}]
    return Board(store, "Lab", PANELS, alarms, ["head"], 15, clock=lambda: 10_000.0), store


def test_what_the_page_is_told() -> None:
    board, store = make_board([{"metric": {"__name__": "x", "node": "head"}, "values": [[1, "2.5"], [2, "NaN"], [3, "+Inf"]]}])
    told = json.loads(ask(board, "/data", "range=3600")[2])
    assert told["panels"][0]["series"] == [{"name": "head", "points": [[1, 2.5]]}]
    assert told["alarms"] == [{"name": "A", "severity": "critical", "where": "head", "runbook": {"meaning": "m"}}]
    assert store.asked == [("rate(x[60s])", 6400.0, 10_000.0, 15)]
    assert json.loads(ask(board, "/data", "node=head")[2])["panels"][0]["title"] == "Load"


@pytest.mark.parametrize("query", ["range=99999999", "range=x", 'node=head"}', "node=../x", "range=3600&range=1"])
def test_what_is_asked_for_is_one_of_what_there_is(query: str) -> None:
    board, store = make_board([])
    told = json.loads(ask(board, "/data", query)[2])
    assert (told["range"], told["node"]) == (3600, "") and store.asked[0][0] == "rate(x[60s])"


def test_a_panel_has_no_more_lines_than_people_tell_apart() -> None:
    board, _ = make_board([{"metric": {"node": f"n{number}"}, "values": []} for number in range(100)])
    assert len(json.loads(ask(board, "/data")[2])["panels"][0]["series"]) == MOST


def test_a_store_that_is_away_is_told_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    board, store = make_board([])
    monkeypatch.setattr(store, "select_now", lambda query: Store("/nowhere").select_now(query))
    status, _, body = ask(board, "/data")
    assert status.startswith("503") and "does not answer" in json.loads(body)["fault"]


def test_the_page_runs_its_own_scripts_and_no_others() -> None:
    board, _ = make_board([])
    _, headers, body = ask(board, "/")
    assert "script-src 'self'; connect-src 'self'" in headers["Content-Security-Policy"] and b"ada&lt;b&gt;" in body
    assert b"<script>" not in body and b"style=" not in body
    assert ask(board, "/page.js")[0].startswith("200") and ask(board, "/../app.py")[0].startswith("404")


def test_the_intake_is_for_nodes_and_puts_their_name() -> None:
    store = Made([])
    intake = Intake(store, {"head.farmlet.test": "head"})
    body = {"REQUEST_METHOD": "POST", "CONTENT_LENGTH": "3", "wsgi.input": io.BytesIO(b"abc"), "HTTP_CONTENT_ENCODING": "zstd"}
    assert ask(intake, PATH, **body)[0].startswith("403")
    assert ask(intake, PATH, **body, HTTP_X_FARMLET_NODE="CN=other.farmlet.test")[0].startswith("403")
    assert not store.written
    assert ask(intake, PATH, **body, HTTP_X_FARMLET_NODE="CN=head.farmlet.test")[0].startswith("204")
    assert store.written == [("head", b"abc", {"Content-Encoding": "zstd"})]
    large = body | {"CONTENT_LENGTH": str(BODY_BYTES + 1), "HTTP_X_FARMLET_NODE": "CN=head.farmlet.test"}
    assert ask(intake, PATH, **large)[0].startswith("413")
    assert ask(intake, "/api/v1/write", **{**large, "CONTENT_LENGTH": "3"})[0].startswith("404")


def test_the_node_keeps_what_the_store_does_not_take(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise Away("x")

    store = Made([])
    monkeypatch.setattr(store, "write", refuse)
    body = {"REQUEST_METHOD": "POST", "CONTENT_LENGTH": "0", "wsgi.input": io.BytesIO(), "HTTP_X_FARMLET_NODE": "CN=h"}
    assert ask(Intake(store, {"h": "head"}), PATH, **body)[0].startswith("503")


def test_alarms_say_what_to_do_and_panels_name_alarms_that_there_are() -> None:
    alerts = {alert.name: alert for alert in rules.load()}
    assert len(alerts) >= 5
    for alert in alerts.values():
        texts = (alert.summary, alert.runbook.meaning, alert.runbook.look, alert.runbook.mend)
        assert all(text.strip() for text in texts) and alert.tests, alert.name
    panels = load_panels()
    assert {panel["unit"] for panel in panels} <= UNITS and {panel["page"] for panel in panels} == {"facility", "node"}
    assert {panel["alarm"] for panel in panels if "alarm" in panel} <= set(alerts)
    titles = [(panel["page"], panel["title"]) for panel in panels]
    assert len(titles) == len(set(titles))  # the page keeps its charts by them
    assert all('node="$node"' in panel["query"] for panel in panels if panel["page"] == "node")
