"""The page's data and the intake, before a store that a test makes up."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import pytest
from ruamel.yaml import YAML

from farmlet.parts.monitoring import rules
from farmlet.parts.monitoring.pages.board import MOST, PAGES, Board, Content, cut
from farmlet.parts.monitoring.pages.intake import BODY_BYTES, PATH, Intake
from farmlet.parts.monitoring.pages.status import Status
from farmlet.parts.monitoring.pages.store import Away, Store
from farmlet.parts.monitoring.panels import name_record
from farmlet.parts.monitoring.store import load_panels
from farmlet.web.guard import PERSON
from farmlet.web.login import Person

PANELS = [
    {"title": "Load", "page": "node", "unit": "none", "query": 'node_load1{node="$node"}'},
    {"title": "All", "page": "facility", "unit": "none", "query": "rate(x[$window])"},
    {"title": "There", "page": "site", "unit": "none", "query": 'x{site="$site"}'},
]
REPORTS = [
    {"name": "jobs", "title": "Jobs", "columns": ["group"], "unit": "jobs", "query": "increase(x[$range])"},
    {"name": "members", "title": "Members", "columns": [], "unit": "members", "every": 2592000, "query": "y"},
]
UNITS = {"percent", "bytes", "rate", "hourly", "count", "seconds", "none"}
ADMIN = Person("s", "ada<b>", ("/lab", "/lab/admins"))


class Made(Store):
    """Answers each question with the same rows and keeps what it was asked."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        super().__init__("")
        self.rows, self.asked, self.written = rows, [], []  # type: ignore[var-annotated]

    def select(self, query: str, start: float, end: float, step: float) -> list[dict[str, Any]]:
        self.asked.append((query, start, end, step))
        return self.rows

    def select_now(self, query: str, at: float | None = None) -> list[dict[str, Any]]:
        if at:
            return self.rows
        return [
            {
                "metric": {"alertname": "A", "severity": "critical", "alertstate": "firing", "node": "head", "path": "/x"},
                "value": [0, "1"],
            }
        ]

    def write(self, node: str, body: bytes, headers: Mapping[str, str]) -> int:
        self.written.append((node, body, headers))
        return 204


def ask(app: Any, path: str, query: str = "", **more: Any) -> tuple[str, dict[str, str], bytes]:
    said: list[Any] = []
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": path, "QUERY_STRING": query, PERSON: ADMIN, **more}
    body = b"".join(app(environ, lambda status, headers: said.extend((status, dict(headers)))))
    return said[0], said[1], body


def make_board(rows: list[dict[str, Any]]) -> tuple[Board, Made]:
    store = Made(rows)
    alarms = [{"name": "A", "severity": "critical", "runbook": {"meaning": "m"}}]
    content = Content("Lab", PANELS, alarms, ["head"], ["tier1"], ["/lab/admins"], REPORTS)
    return Board(store, content, clock=lambda: 10_000.0), store


def test_what_the_page_is_told() -> None:
    board, store = make_board([{"metric": {"__name__": "x", "node": "head"}, "values": [[1, "2.5"], [2, "NaN"], [3, "+Inf"]]}])
    told = json.loads(ask(board, "/data", "range=3600")[2])
    assert told["panels"][0]["series"] == [{"name": "head", "points": [[1, 2.5]]}]
    assert told["alarms"] == [{"name": "A", "severity": "critical", "where": "head, /x", "runbook": {"meaning": "m"}}]
    assert store.asked == [("topk_max(20, rate(x[60s]))", 6400.0, 10_000.0, 15)]
    assert json.loads(ask(board, "/data", "page=node&of=head")[2])["panels"][0]["title"] == "Load"
    ask(board, "/data", "page=site&of=tier1")
    assert store.asked[-1][0] == 'x{site="tier1"}'


def test_members_see_the_facility_and_no_single_node() -> None:
    board, store = make_board([])
    member = {PERSON: Person("s", "bob", ("/lab", "/lab/adminsx"))}
    told = json.loads(ask(board, "/data", "page=node&of=head", **member)[2])
    assert told["title"] == "The facility at a glance" and store.asked[0][0] == "topk_max(20, rate(x[60s]))"
    assert told["alarms"] == [{"name": "A", "severity": "critical", "where": "head"}] and told["watched"] == []
    assert {row["page"] for row in told["menu"]} == {*PAGES} - {"node", "identity", "report"}
    assert json.loads(ask(board, "/data", "page=identity", **member)[2])["title"] == "The facility at a glance"
    assert {row["page"] for row in json.loads(ask(board, "/data")[2])["menu"]} == {*PAGES}


def test_a_line_for_everybody_has_no_names(monkeypatch: pytest.MonkeyPatch) -> None:
    store, now = Made([]), [0.0]
    status = Status(store, "Lab", lambda: now[0])
    rows = [{"metric": {"severity": "warning"}, "value": [0, "2"]}, {"metric": {"severity": "critical"}, "value": [0, "1"]}]
    monkeypatch.setattr(store, "select_now", lambda query: rows)
    assert ask(status, "/status")[2] == b"Lab: 1 critical and 2 warning alarms (00:00:00 UTC)\n"
    rows.clear()
    assert b"1 critical" in ask(status, "/status")[2]  # not asked again at once
    now[0] = 15.0
    assert ask(status, "/status")[2] == b"Lab: all is well (00:00:15 UTC)\n"
    monkeypatch.setattr(store, "select_now", lambda query, at=None: Store("/nowhere").select_now(query))
    now[0] = 30.0
    code, _, body = ask(status, "/status.json")
    assert code.startswith("503") and json.loads(body)["status"] == "unknown"


@pytest.mark.parametrize(
    "query", ["range=99999999", "range=x", 'page=node&of=head"}', "page=node&of=../x", "page=node", "range=3600&range=1"]
)
def test_what_is_asked_for_is_one_of_what_there_is(query: str) -> None:
    board, store = make_board([])
    told = json.loads(ask(board, "/data", query)[2])
    assert (told["range"], told["title"]) == (3600, "The facility at a glance") and store.asked[0][
        0
    ] == "topk_max(20, rate(x[60s]))"


def test_a_panel_has_no_more_lines_than_people_tell_apart() -> None:
    board, _ = make_board([{"metric": {"node": f"n{number}"}, "values": []} for number in range(100)])
    assert len(json.loads(ask(board, "/data")[2])["panels"][0]["series"]) == MOST


def test_a_long_range_is_read_of_what_was_kept_of_whole_panels() -> None:
    board, store = make_board([])
    ask(board, "/data", "range=21600")
    ask(board, "/data", "range=2592000")
    first = next(panel for panel in PANELS if panel["page"] == "facility")
    kept = name_record(first)
    assert "rate(x[" in store.asked[0][0] and store.asked[-1][0] == f"topk_max(20, max without (facility) ({kept}))"
    ask(board, "/data", "page=node&of=head&range=2592000")
    assert "farmlet_panel" not in store.asked[-1][0]
    rows = json.loads(rules.render([], ["head"], "", 15, load_panels()))["groups"][-1]["rules"]
    names = [row["record"] for row in rows]
    assert len(set(names)) == len(names) > 20, "each has a name of its own"
    assert all(re.fullmatch("farmlet_panel:[a-z0-9_]+", name) for name in names)
    assert not any("$" in row["expr"] for row in rows)


def test_of_too_many_lines_the_worst_are_drawn() -> None:
    assert cut({"bad_below": 1}, "x") == "bottomk_min(20, x)" and cut({"bad": 1}, "x") == "topk_max(20, x)"


def test_a_store_that_is_away_is_told_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    board, store = make_board([])
    monkeypatch.setattr(store, "select_now", lambda query, at=None: Store("/nowhere").select_now(query))
    status, _, body = ask(board, "/data")
    assert status.startswith("503") and "does not answer" in json.loads(body)["fault"]


def test_the_page_runs_its_own_scripts_and_no_others() -> None:
    board, _ = make_board([])
    _, headers, body = ask(board, "/")
    assert "script-src 'self'; connect-src 'self'" in headers["Content-Security-Policy"] and b"ada&lt;b&gt;" in body
    assert b"<script>" not in body and b"style=" not in body
    assert ask(board, "/page.js")[0].startswith("200") and ask(board, "/../app.py")[0].startswith("404")


def test_dashboards_are_for_who_administers_and_lead_to_what_to_do() -> None:
    board = Board(Made([]), Content("Lab", PANELS, [], [], admins=["/lab/admins"], url="https://monitoring.farmlet.test"))
    status, _, body = ask(board, "/dashboards/storage.json")
    assert status.startswith("200") and b'"https://monitoring.farmlet.test/#DiskFull"' in body and b"${monitoring}" not in body
    assert ask(board, "/dashboards/storage.json", **{PERSON: Person("s", "bob", ("/lab",))})[0].startswith("404")


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
    assert {panel["unit"] for panel in panels} <= UNITS and {panel["page"] for panel in panels} == {*PAGES} - {"report"}
    assert {panel["alarm"] for panel in panels if "alarm" in panel} <= set(alerts)
    titles = [(panel["page"], panel["title"]) for panel in panels]
    assert len(titles) == len(set(titles))  # the page keeps its charts by them
    for page in ("node", "site"):
        assert all(f'{page}="${page}"' in panel["query"] for panel in panels if panel["page"] == page)


@pytest.mark.parametrize("word", ["severity", "summary", "runbook", "for", "expr"])
def test_an_alarm_that_lacks_something_is_none(word: str) -> None:
    folder = files("farmlet.parts.monitoring") / "alerts"
    whole = YAML(typ="safe").load((folder / "disk-full.yaml").read_text())
    assert rules.read(whole).name == "DiskFull"
    with pytest.raises((TypeError, KeyError)):
        rules.read({name: value for name, value in whole.items() if name != word})
    with pytest.raises(ValueError, match="severity is one of"):
        rules.read({**whole, "severity": "grave"})
    with pytest.raises(TypeError):
        rules.read({**whole, "runbook": {"meaning": "x", "look": "y"}})


def test_what_admins_are_asked_comes_as_csv_and_json() -> None:
    board, store = make_board([])
    store.rows = [
        {"metric": {"group": 'la"b'}, "value": [0, "3"], "values": [[86400, "2"]]},
        {"metric": {"group": "a"}, "value": [0, "NaN"], "values": []},
    ]
    status, headers, body = ask(board, "/report.csv", "name=jobs&range=604800")
    assert status.startswith("200") and body == b'group,jobs\r\n"la""b",3.0\r\n'
    assert headers["Content-Disposition"] == 'attachment; filename="jobs.csv"'
    told = json.loads(ask(board, "/report.json", "name=jobs&range=1")[2])
    assert (told["range"], told["columns"], told["rows"]) == (2592000, ["group", "jobs"], [['la"b', 3.0]])
    assert ask(board, "/report.csv", "name=members")[2] == b"until,members\r\n1970-01-02,2.0\r\n"
    shown = json.loads(ask(board, "/data", "page=report")[2])
    assert [report["name"] for report in shown["reports"]] == ["jobs", "members"] and shown["range"] == 2592000
    assert ask(board, "/report.csv", "name=x")[0].startswith("404") and ask(board, "/report.csv")[0].startswith("404")
    member = {PERSON: Person("s", "bob", ("/lab",))}
    assert ask(board, "/report.csv", "name=jobs", **member)[0].startswith("403")
