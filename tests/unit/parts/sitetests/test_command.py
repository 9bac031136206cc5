"""What an admin asks on the control node, and is answered; what `farmlet sitetest` makes of it."""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from farmlet.cli import sitetest
from farmlet.cli.main import main as farmlet
from farmlet.parts import gate
from farmlet.parts.sitetests.checks import check_service, check_site
from farmlet.parts.sitetests.command import main
from farmlet.parts.sitetests.metrics import measure
from farmlet.parts.sitetests.result import Result
from farmlet.parts.sitetests.store import Store
from farmlet.runtime.checks import Failed
from farmlet.runtime.metrics import render

ROUND = Result("probe", 2, "broken", 1_800_000_000.0, 1.5, "wn1", "more\nof it", 7, {"x": (1.0, "s")})


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name in ("own", "gates"):
        (tmp_path / name).mkdir()
    (tmp_path / "own/probe.py").write_text("def test(): pass")
    (tmp_path / "told.json").write_text('{"tests": [], "faults": [], "frozen": []}')
    sites = [{"name": name, "host": "h", "user": "u", "environment": {}} for name in ("tier1", "hpc")]
    config = {"sites": sites, "every": 600, "state": str(tmp_path), "folder": str(tmp_path / "own")}
    (tmp_path / "config.json").write_text(json.dumps(config | {"gates": str(tmp_path / "gates")}))
    return tmp_path


@pytest.fixture
def played(place: Path) -> Iterator[None]:
    """A service that ends each job with one result, and keeps gates closed that admins close."""
    ended = threading.Event()

    def serve() -> None:
        store = Store(place / "results.sqlite3")
        while not ended.wait(0.05):
            for site in store.find_busy():
                for job in store.find_open(site):
                    store.end([(job, [ROUND])], time.time())
            closed = store.find_closed(time.time())
            for site in ("tier1", "hpc"):
                gate.save(place / "gates", site, gate.Gate(site not in closed, 1.0, "closed by hand", site in closed))
        store.close()

    thread = threading.Thread(target=serve)
    thread.start()
    yield
    ended.set()
    thread.join()


def ask(place: Path, capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> Any:
    assert main(["--config", str(place / "config.json"), *words]) == code
    said = capsys.readouterr()
    return said.err if code else json.loads(said.out)


def test_the_database_is_made_by_one_at_a_time(tmp_path: Path) -> None:
    lock = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    thread = threading.Thread(target=lambda: Store(tmp_path / "results.sqlite3").close())
    thread.start()
    thread.join(0.3)
    assert thread.is_alive(), "it waits for who makes it just now"
    os.close(lock)
    thread.join(20)
    assert not thread.is_alive() and Store(tmp_path / "results.sqlite3", readonly=True).find_rows() == []


@pytest.mark.usefixtures("played")
def test_run_and_show(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = ask(place, capsys, "run", "probe")
    assert sorted(row["site"] for row in found) == ["hpc", "tier1"] and {row["result"] for row in found} == {"critical"}
    (row,) = ask(place, capsys, "show", "probe", "--site", "tier1")
    assert (row["output"], row["dropped"], row["numbers"]) == ("more\nof it", 7, {"x": {"value": 1.0, "unit": "s"}})
    assert len(ask(place, capsys, "show")) == 2
    sites = ask(place, capsys, "list")["sites"]
    assert [site["site"] for site in sites] == ["tier1", "hpc"] and sites[0]["tests"][0]["text"] == "broken"
    assert sites[0]["day"] == {"jobs": 1, "seconds": 1.5}


@pytest.mark.usefixtures("played")
def test_close_and_open(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(place, capsys, "close", "tier1", "--reason", "disks")["open"] is False
    assert ask(place, capsys, "open", "tier1")["open"] is True


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "nothing"], "there is no such test"),
        (["run", "odd"], "is no Python"),
        (["run", "probe", "--site", "mars"], "site mars: is none that is tested"),
        (["run", "far", "--site", "hpc"], "is not for hpc"),
        (["show", "--site", "mars"], "sites: tier1, hpc"),
        (["close", "tier1", "--reason", " "], "needs a reason"),
        (["open", "mars"], "site mars"),
    ],
)
def test_mistakes_are_told_in_words(place: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    (place / "own/odd.py").write_text("def test(")
    (place / "own/far.py").write_text("# /// sitetest\n# sites = ['tier1']\n# ///\ndef test(): pass")
    assert said in ask(place, capsys, *words, code=2)


def test_no_result_in_time(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = ask(place, capsys, "run", "probe", "--wait", "0", code=1)
    assert "no result from tier1, hpc within 0 s" in said and "sitetest show" in said


def test_nobody_waits_for_a_service_that_does_not_live(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "told.json").unlink()
    assert "the service does not live" in ask(place, capsys, "run", "probe", code=1)
    assert "the service has not begun yet" in ask(place, capsys, "list")["faults"][0]


def test_checks_of_sites(tmp_path: Path) -> None:
    assert "no test has ended yet" in check_site(str(tmp_path), "tier1", str(tmp_path / "told.json"))
    gate.save(tmp_path, "tier1", gate.Gate(True, 1.0, tests={"a": [0, 1.0, "fine"], "b": [1, 1.0, "slow"]}))
    assert "1 tests pass" in (said := check_site(str(tmp_path), "tier1", str(tmp_path / "told.json"))) and "b warns: slow" in said
    gate.save(tmp_path, "tier1", gate.Gate(False, 1.0, "a: bad", tests={"a": [2, 1.0, "bad"]}))
    with pytest.raises(Failed, match="a: bad; no new drones since"):
        check_site(str(tmp_path), "tier1", str(tmp_path / "told.json"))
    gate.save(tmp_path, "tier1", gate.Gate(False, 1.0, "closed by hand: disks", True, {"a": [0, 1.0, "fine"]}))
    assert "closed by hand: disks" in check_site(str(tmp_path), "tier1", str(tmp_path / "told.json"))


def test_what_fails_at_many_sites_is_no_fault_of_one(tmp_path: Path) -> None:
    told = tmp_path / "told.json"
    told.write_text('{"frozen": ["a"]}')
    gate.save(tmp_path, "tier1", gate.Gate(True, 1.0, tests={"a": [2, 1.0, "bad"], "b": [0, 1.0, "fine"]}))
    assert "1 tests pass" in (said := check_site(str(tmp_path), "tier1", str(told))) and "a fails at many sites" in said


def test_a_maintenance_is_planned_and_what_was_is_told(place: Path, played: None, capsys: pytest.CaptureFixture[str]) -> None:
    (closure,) = ask(place, capsys, "close", "tier1", "--reason", "disks", "--start", "2099-01-31 08:00", "--hours", "2")[
        "closures"
    ]
    assert (closure["since"], closure["until"] - closure["since"]) == (4073529600.0, 7200.0)
    assert ask(place, capsys, "list")["sites"][0]["open"]
    assert ask(place, capsys, "open", "tier1")["closures"] == []
    with pytest.raises(SystemExit):
        ask(place, capsys, "close", "hpc", "--reason", "x", "--start", "noon")
    assert "is no time like" in capsys.readouterr().err
    assert "would be over already" in ask(
        place, capsys, "close", "hpc", "--reason", "x", "--start", "2020-01-01", "--hours", "1", code=2
    )
    store = Store(place / "results.sqlite3")
    store.note_change("hpc", time.time(), False, False, "clock: bad")
    store.note_change("hpc", time.time() - 5 * 86400, True, False, "")
    assert [one["reason"] for one in ask(place, capsys, "history", "hpc", "--days", "1")] == ["clock: bad"]
    assert len(ask(place, capsys, "history")) == 2 and ask(place, capsys, "history", "tier1") == []
    store.close()


def test_numbers_of_sites(tmp_path: Path) -> None:
    gate.save(tmp_path, "tier1", gate.Gate(False, 1.0, "bad", tests={"a": [2, 5.0, "bad"]}))
    told = tmp_path / "told.json"
    told.write_text(json.dumps({"tests": [{"test": "a"}, {"test": "b"}], "faults": [], "frozen": ["a"]}))
    found = render(measure(str(tmp_path), ["tier1", "hpc"], str(told)))
    assert 'farmlet_sitetests_open{site="tier1"} 0.0' in found and 'farmlet_sitetests_open{site="hpc"} 1.0' in found
    assert 'farmlet_sitetests_result{site="tier1",test="a"} 2.0' in found
    assert 'farmlet_sitetests_maintenance{site="tier1"} 0.0' in found
    assert 'farmlet_sitetests_result_timestamp_seconds{site="tier1",test="a"} 5.0' in found
    assert 'farmlet_sitetests_frozen{test="a"} 1.0' in found and 'farmlet_sitetests_frozen{test="b"} 0.0' in found
    assert 'farmlet_sitetests_frozen{test="queue"} 0.0' in found
    os.utime(told, (1, 1))
    assert "frozen" not in render(measure(str(tmp_path), ["tier1"], str(told))), "the service has long said nothing"
    told.write_text("[1]")
    assert "frozen" not in render(measure(str(tmp_path), ["tier1"], str(told)))


def test_checks_of_the_service(tmp_path: Path) -> None:
    told = tmp_path / "told.json"
    with pytest.raises(Failed, match="told nothing yet"):
        check_service(str(told))
    for faults, frozen, words in (
        ([], [], ""),
        (["x: odd"], [], "1 files are no tests: x: odd"),
        ([], ["clock"], "by a fault of our own"),
    ):
        told.write_text(json.dumps({"tests": [{}], "faults": faults, "frozen": frozen}))
        if words:
            with pytest.raises(Failed, match=words):
                check_service(str(told))
        else:
            assert check_service(str(told)) == "1 tests"


@pytest.mark.usefixtures("played")
def test_the_verb_hands_over_and_draws(place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def run(name: str, command: list[str], stdin: str, timeout: float) -> str:
        assert command[:3] == ["runuser", "-u", "farmlet-sitetests"] and timeout >= 60
        return json.dumps(ask(place, capsys, *command[7:]))

    facility = SimpleNamespace(controller="service", has=lambda role: True)
    monkeypatch.setattr(sitetest, "open_deployment", lambda args, running: SimpleNamespace(facility=facility, run=run))
    assert farmlet(["sitetest", "run", "probe", "--site", "hpc"]) == 1
    assert "critical  hpc" in capsys.readouterr().out
    assert farmlet(["sitetest", "show", "--last", "3"]) == 0
    said = capsys.readouterr().out
    assert "probe at hpc on wn1" in said and "  | of it" in said and "x = 1 s" in said
    assert farmlet(["sitetest", "list"]) == 0
    assert "site tier1: open to new drones" in capsys.readouterr().out
    assert farmlet(["sitetest", "close", "hpc", "--reason", "-- new disks"]) == 0
    assert "no new drones since" in capsys.readouterr().out


def test_the_list_tells_what_runs_seldomer_and_what_a_day_cost(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = [{"site": "hpc", "test": "probe", "takes": 180.0, "every": 1800.0}]
    (place / "told.json").write_text(json.dumps({"tests": [], "faults": [], "frozen": [], "slow": slow}))
    found = ask(place, capsys, "list")
    monkeypatch.setattr(sitetest, "ask", lambda *words: found)
    monkeypatch.setattr(sitetest, "open_deployment", lambda *words, **more: None)
    assert sitetest.run(argparse.Namespace(action="list", json=False)) == 0
    said = capsys.readouterr().out
    assert "in the last day 0 jobs, 0 s\n  probe takes 180 s there, so it runs each 1800 s, not sooner" in said
    assert said.count("not sooner") == 1
