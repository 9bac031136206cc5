"""The whole way of a number, with the real servers: exporter, vmagent, intake, store, rule, mail; and its end."""

from __future__ import annotations

import time
from email import message_from_string
from email.policy import default

import pytest
from pieces import Pieces, find_values

from farmlet.parts.monitoring import rules
from farmlet.parts.monitoring.pages.board import Board, Content
from farmlet.parts.monitoring.store import load_panels
from waiting import until

pytestmark = pytest.mark.service
AWAY = 40  # numbers of ten minutes, one each 15 s
CHECK = 'farmlet_check_ok{{check="batch.queue"}} {}\nfarmlet_batch_jobs{{status="idle"}} 3\n'


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
    alarms = [{"name": "CheckFailing", "runbook": {"meaning": "it"}}]
    board = Board(pieces.store, Content("Lab", load_panels(), alarms, ["head"], seconds=1))
    (alarm,) = until(lambda: board.look(3600, admin=True)["alarms"])
    assert (alarm["name"], alarm["severity"], alarm["runbook"]) == ("CheckFailing", "warning", {"meaning": "it"})
    assert "batch.queue" in alarm["where"] and "head" in alarm["where"]
    jobs = next(panel for panel in board.look(3600)["panels"] if panel["title"] == "Jobs")
    assert [line["name"] for line in jobs["series"]] == ["idle"] and jobs["series"][0]["points"][-1][1] == 3
    pieces.exporter.text = CHECK.format(1)
    until(lambda: len(pieces.sink.mails) > 1 and "resolved" in pieces.sink.mails[-1])
    hooked = [body for path, body in pieces.hook.told if path == "/alarms"]
    assert (hooked[0]["status"], hooked[-1]["status"]) == ("firing", "resolved")
    assert hooked[0]["alerts"][0]["annotations"]["summary"] == "batch.queue fails on head"


def test_who_is_outside_hears_while_fresh_numbers_come_and_no_longer(pieces: Pieces) -> None:
    pieces.start_store()
    pieces.start_door()
    pieces.exporter.text = CHECK.format(1)
    pieces.start_node()
    (watchdog,) = [alert for alert in rules.load() if alert.name == rules.WATCHDOG]
    pieces.start_alarms({rules.WATCHDOG: {"expr": watchdog.expr.replace("[2m]", "[5s]")}})
    until(lambda: len(pieces.hook.told) > 2)
    assert {path for path, _ in pieces.hook.told} == {"/deadman"} and not pieces.sink.mails
    pieces.stop("vmagent")  # the store, the rules and Alertmanager go on
    until(lambda: not find_values(pieces, 'ALERTS{alertname="Watchdog",alertstate="firing"}'))
    heard = len(pieces.hook.told)
    until(lambda: is_quiet(pieces, 5))
    assert {body["status"] for _, body in pieces.hook.told} == {"firing"} and len(pieces.hook.told) <= heard + 10


def is_quiet(pieces: Pieces, seconds: float) -> bool:
    """Whether nothing is told for so long."""
    heard = len(pieces.hook.told)
    time.sleep(seconds)
    return len(pieces.hook.told) == heard


def test_what_the_store_does_not_take_waits_on_the_node(pieces: Pieces) -> None:
    """As many numbers as come in ten minutes, each another: none is lost."""
    pieces.start_store()
    pieces.start_door()
    pieces.exporter.text = "farmlet_number 1\n"
    pieces.start_node(every="200ms")
    until(lambda: find_values(pieces, "farmlet_number"))
    pieces.stop("victoria-metrics")
    for number in range(2, AWAY + 2):
        pieces.exporter.text = f"farmlet_number {number}\n"
        until(lambda: pieces.exporter.text in pieces.exporter.told)
    until(lambda: b"503" in (pieces.root / "vmagent.log").read_bytes())
    pieces.start_store()
    until(lambda: [row["value"][1] for row in find_values(pieces, "farmlet_number")] == [str(AWAY + 1)])
    (found,) = until(lambda: find_values(pieces, "distinct_over_time(farmlet_number[10m])"))
    assert int(found["value"][1]) == AWAY + 1
