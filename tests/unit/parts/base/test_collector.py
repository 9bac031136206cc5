"""The numbers of a node: a file a metric, and a metric that fails or hangs costs only itself."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from farmlet.parts.base import collector as module
from farmlet.parts.base.collector import Collector
from farmlet.parts.base.tasks import Call, load
from farmlet.runtime.metrics import Sample

HERE = "test_collector"
GATE = threading.Event()


def count(number: float, who: str = "x") -> list[Sample]:
    return [Sample("things", number, {"who": who})]


def lazy() -> Iterator[Sample]:
    yield Sample("before", 1)
    raise RuntimeError("ran out")


def hang() -> list[Sample]:
    GATE.wait(30)
    return count(7)


TALLY = Counter[str]()


def tally(name: str) -> list[Sample]:
    TALLY[name] += 1
    return count(TALLY[name])


def wait(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def collector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    monkeypatch.setattr(module, "SECONDS", 0.2)
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    GATE.clear()
    yield Collector(tmp_path / "metrics")
    GATE.set()


def read(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in (folder / "metrics").iterdir()}


def call(name: str, function: str, **args: object) -> Call:
    return Call(name, f"{__name__}:{function}", args)


def test_each_metric_has_a_file(collector: Collector, tmp_path: Path) -> None:
    collector.collect([call("a.one", "count", number=1, who='"\n}'), call("b.two", "count", number=2)])
    found = read(tmp_path)
    assert set(found) == {"a.one.prom", "b.two.prom", "metrics.prom"}
    assert found["a.one.prom"].splitlines()[1] == 'farmlet_things{who="\\"\\n}"} 1.0'
    assert 'farmlet_metric_ok{metric="a.one"} 1.0' in found["metrics.prom"]
    assert (tmp_path / "metrics" / "a.one.prom").stat().st_mode & 0o777 == 0o644


def test_one_that_fails_costs_only_itself_and_is_told(
    collector: Collector, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good = call("a.good", "count", number=1)
    collector.collect([good, call("a.bad", "count", number=2)])
    bad = [call("a.bad", "lazy"), call("a.gone", "nothing"), call("a.shape", "count", number="?")]
    for _ in range(2):
        collector.collect([*bad, good])
    found = read(tmp_path)
    assert set(found) == {"a.good.prom", "metrics.prom"}, "an old number does not stay as if it were new"
    assert [f'metric_ok{{metric="{one.name}"}} 0.0' in found["metrics.prom"] for one in bad] == [True] * 3
    assert [record.getMessage() for record in caplog.records if "a.bad" in record.getMessage()] == ["metric a.bad: ran out"]
    assert any("no function" in record.getMessage() for record in caplog.records)


def test_one_that_watches_a_file_counts_again_when_that_changes(
    collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK", 0.01)
    tasks, stop, watched = tmp_path / "tasks", threading.Event(), tmp_path / "changed"
    tasks.mkdir()
    listed = [{"name": name, "call": f"{__name__}:tally", "args": {"name": name}} for name in ("a.quick", "b.slow")]
    (tasks / "metrics.json").write_text(json.dumps({"metrics": [listed[0] | {"watch": str(watched)}, listed[1]]}))
    TALLY.clear()
    thread = threading.Thread(target=collector.work, args=(tasks, 3600.0, stop))
    thread.start()
    try:
        wait(lambda: TALLY["b.slow"] == 1 and (tmp_path / "metrics" / "metrics.prom").exists())
        for number in (2.0, 3.0):  # it comes, and becomes newer
            watched.touch()
            wait(lambda number=number: f"}} {number}" in read(tmp_path)["a.quick.prom"])
    finally:
        stop.set()
        thread.join()
    assert TALLY == {"a.quick": 3, "b.slow": 1}


def test_one_that_hangs_is_neither_waited_for_nor_started_twice(collector: Collector, tmp_path: Path) -> None:
    calls = [call("a.slow", "hang"), call("a.good", "count", number=1)]
    before = threading.active_count()
    for _ in range(3):
        collector.collect(calls)
    assert threading.active_count() == before + 1
    assert set(read(tmp_path)) == {"a.good.prom", "metrics.prom"}
    GATE.set()
    collector.collect(calls)
    assert "things" in read(tmp_path)["a.slow.prom"]


def test_what_is_no_longer_counted_goes(collector: Collector, tmp_path: Path) -> None:
    collector.collect([call("a.one", "count", number=1)])
    collector.record([{"check": "a.b", "ok": False, "seconds": 0.25, "evidence": "e", "at": 1.0}] * 2)
    collector.collect([])
    found = read(tmp_path)
    assert set(found) == {"checks.prom", "metrics.prom"}
    assert 'farmlet_check_ok{check="a.b"} 0.0' in found["checks.prom"]
    assert "farmlet_checks_failing 1.0" in found["checks.prom"]
    assert 'farmlet_check_seconds{check="a.b"} 0.25' in found["checks.prom"]


def test_it_works_until_it_is_stopped_whatever_the_disk_says(collector: Collector, tmp_path: Path) -> None:
    (tmp_path / "metrics").write_text("no folder")
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    row = {"name": "a.one", "call": f"{__name__}:count", "args": {"number": 3}}
    (tasks / "metrics.json").write_text(json.dumps({"metrics": [row]}))
    assert load(tasks).metrics == (call("a.one", "count", number=3),)
    stop = threading.Event()
    thread = threading.Thread(target=collector.work, args=(tasks, 0.01, stop), daemon=True)
    thread.start()
    collector.record([])
    (tmp_path / "metrics").unlink()
    while not (tmp_path / "metrics" / "a.one.prom").exists():
        assert thread.is_alive()
        stop.wait(0.01)
    stop.set()
    thread.join(5)
    assert not thread.is_alive()


def many() -> list[Sample]:
    return [*count(1), *(Sample("lots", 1, {"who": str(number)}) for number in range(module.MOST + 5))]


def test_labels_that_explode_are_cut_and_told(collector: Collector, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    collector.collect([call("a.one", "many"), call("b.two", "count", number=2)])
    found = read(tmp_path)
    assert found["a.one.prom"].count("farmlet_lots{") == module.MOST and "farmlet_things" in found["a.one.prom"]
    assert 'farmlet_metric_cut{metric="a.one"} 5.0' in found["metrics.prom"]
    assert 'farmlet_metric_cut{metric="b.two"} 0.0' in found["metrics.prom"]
    assert "of farmlet_lots only the first" in caplog.text
