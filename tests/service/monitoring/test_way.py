"""The whole way of a number, with the real servers: exporter, vmagent, intake, store, rule, mail; and its end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from email import message_from_string
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
from pieces import Pieces, until

from farmlet.parts.monitoring.pages.board import Board
from farmlet.parts.monitoring.pages.store import Away
from farmlet.parts.monitoring.store import load_panels

pytestmark = pytest.mark.service
CHECK = 'farmlet_check_ok{{check="batch.queue"}} {}\nfarmlet_batch_jobs{{status="idle"}} 3\n'


@pytest.fixture
def pieces(tmp_path: Path) -> Iterator[Pieces]:
    made = Pieces(tmp_path)
    yield made
    made.close()


def find_values(pieces: Pieces, query: str) -> list[dict[str, Any]]:
    """What the store answers, once it does."""
    with suppress(Away):
        return pieces.store.select_now(query)
    return []


def test_a_check_that_fails_is_told_by_mail_and_cleared(pieces: Pieces) -> None:
    pieces.start_store()
    pieces.start_door()
    pieces.exporter.text = CHECK.format(1)
    pieces.start_node()
    pieces.start_alarms({"CheckFailing": {"for_": "0s", "expr": "max_over_time(farmlet_check_ok[5s]) == 0"}})
    rows = until(lambda: find_values(pieces, "farmlet_check_ok"))
    # the node called itself `another`: its name is what its certificate says
    assert [(row["metric"]["node"], row["value"][1]) for row in rows] == [("head", "1")]
    assert not pieces.sink.mails
    pieces.exporter.text = CHECK.format(0)
    until(lambda: pieces.sink.mails)
    mail = message_from_string(pieces.sink.mails[0], policy=default)
    assert mail["To"] == "admin@example.org" and mail["Subject"] == "[lab] firing: batch.queue fails on head"
    assert "what to do: https://monitoring.farmlet.test/#CheckFailing" in mail.get_body(("plain",)).get_content()  # type: ignore[union-attr]
    board = Board(pieces.store, "Lab", load_panels(), [{"name": "CheckFailing", "runbook": {"meaning": "it"}}], ["head"], 1)
    (alarm,) = until(lambda: board.look(3600)["alarms"])
    assert (alarm["name"], alarm["severity"], alarm["runbook"]) == ("CheckFailing", "warning", {"meaning": "it"})
    assert "batch.queue" in alarm["where"] and "head" in alarm["where"]
    jobs = next(panel for panel in board.look(3600)["panels"] if panel["title"] == "Jobs")
    assert [line["name"] for line in jobs["series"]] == ["idle"] and jobs["series"][0]["points"][-1][1] == 3
    pieces.exporter.text = CHECK.format(1)
    until(lambda: len(pieces.sink.mails) > 1 and "resolved" in pieces.sink.mails[-1])


def test_what_the_store_does_not_take_waits_on_the_node(pieces: Pieces) -> None:
    pieces.start_store()
    pieces.start_door()
    pieces.exporter.text = "farmlet_number 1\n"
    pieces.start_node()
    until(lambda: find_values(pieces, "farmlet_number"))
    pieces.stop("victoria-metrics")
    pieces.exporter.text = "farmlet_number 2\n"
    until(lambda: b"503" in (pieces.root / "vmagent.log").read_bytes())
    pieces.exporter.text = "farmlet_number 3\n"
    pieces.start_store()
    until(lambda: [row["value"][1] for row in find_values(pieces, "farmlet_number")] == ["3"])
    assert find_values(pieces, "count_over_time((farmlet_number == 2)[5m:1s])")
