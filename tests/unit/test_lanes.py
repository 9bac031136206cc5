"""Lanes of the slow tests: who begins when, and that a run always comes to its end."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from types import SimpleNamespace

import pytest

import budgets
from lanes import FIRST, LAST, Lanes, find_lane, rank

ROOT = Path(__file__).parents[2]


class Process:
    """One that runs tests as xdist's do: a test begins only when the next is known, or that there is none."""

    def __init__(self, name: str) -> None:
        self.gateway, self.shutting_down = SimpleNamespace(id=name), False
        self.waiting: deque[int] = deque()

    def send_runtest_some(self, indices: list[int]) -> None:
        self.waiting.extend(indices)

    def shutdown(self) -> None:
        self.shutting_down = True

    @property
    def ready(self) -> bool:
        return len(self.waiting) > 1 or (self.shutting_down and bool(self.waiting))


def run(tests: list[str], processes: int, order: int) -> list[tuple[str, str]]:
    """(process, test) in the order in which they ended; `order` decides which of the processes is the quicker."""
    config = SimpleNamespace(
        option=SimpleNamespace(loadscopereorder=False, maxprocesses=None), getvalue=lambda name: [f"{processes}*popen"]
    )
    lanes = Lanes(config, None)  # type: ignore[arg-type]
    lanes.numnodes = processes
    nodes = [Process(f"gw{number}") for number in range(processes)]
    for node in nodes:
        lanes.add_node(node)  # type: ignore[arg-type]
    for node in nodes:
        lanes.add_node_collection(node, tests)  # type: ignore[arg-type]
    lanes.schedule()
    ended = []
    while ready := [node for node in nodes if node.ready]:
        node = ready[order % len(ready)]
        order = order * 1103515245 + 12345
        index = node.waiting.popleft()
        ended.append((node.gateway.id, tests[index]))
        lanes.mark_test_complete(node, index)  # type: ignore[arg-type]
    assert lanes.tests_finished
    return ended


def name(lane: str, count: int, folder: str = "facility") -> list[str]:
    return [f"tests/{folder}/{lane}::test_{number}" for number in range(count)]


def lane_of(test: str) -> str:
    return test.partition("::")[0].rpartition("/")[2]


TESTS = [
    *name(FIRST, 4),
    *name("harm", 5),
    *name("edit", 3),
    *name("sqlite", 6, "service"),
    *name("keys", 1, "service"),
    *name("quiet", 2),
    *name("other", 1),
    *name(LAST, 1),
]


@pytest.mark.parametrize("processes", [1, 2, 3, 5])
@pytest.mark.parametrize("order", range(12))
def test_every_test_runs_once_and_the_sandbox_comes_first_and_goes_last(processes: int, order: int) -> None:
    ended = run(TESTS, processes, order)
    names = [test for _, test in ended]
    assert sorted(names) == sorted(TESTS)
    assert lane_of(names[-1]) == LAST
    sandbox = [test for test in names if test.startswith("tests/facility/") and lane_of(test) != FIRST]
    assert names.index(name(FIRST, 4)[2]) < names.index(sandbox[0])


@pytest.mark.parametrize("order", range(12))
def test_a_lane_is_one_line(order: int) -> None:
    for lane in ("harm", "edit", "sqlite"):
        mine = [(process, test) for process, test in run(TESTS, 3, order) if lane_of(test) == lane]
        assert len({process for process, _ in mine}) == 1
        assert [test for _, test in mine] == [test for test in TESTS if lane_of(test) == lane]


@pytest.mark.parametrize("tests", [name("quiet", 1), name(FIRST, 2) + name("quiet", 3), name("a", 2) + name(LAST, 1)])
def test_a_part_of_them_comes_to_its_end_too(tests: list[str]) -> None:
    for processes in (1, 2, 3):
        assert len(run(tests, min(processes, len(tests)), 7)) == len(tests)


def test_each_file_has_its_row_in_contributing() -> None:
    files = sorted(path.stem for path in (ROOT / "tests" / "facility").glob("test_*.py"))
    lanes = {name: find_lane(f"tests/facility/{name}.py::test") for name in files}
    told = {name: lane if lane != "test" else name for name, (lane, _) in budgets.read().items()}
    assert told == lanes


def test_what_takes_longest_begins_first() -> None:
    table = budgets.read()
    quiet = [f"tests/facility/{name}.py::test" for name, (lane, _) in table.items() if lane == "test"]
    ranks = [rank(find_lane(test)) for test in sorted(quiet, key=lambda test: -table[Path(test.split("::")[0]).stem][1])]
    assert ranks == sorted(ranks)
    assert rank(FIRST) < rank("harm") < ranks[0] and ranks[-1] < rank(LAST)


def test_who_opens_a_browser_says_so() -> None:
    """Those run before containers come and go."""
    texts = {path.stem: path.read_text() for path in (ROOT / "tests" / "service").rglob("test_*.py")}
    marked = {name for name, text in texts.items() if "pytest.mark.browser" in text}
    assert marked == {name for name, text in texts.items() if "launch()" in text or "open_window" in text}


def test_no_two_slow_files_have_one_name() -> None:
    """pytest would collect the first only; each folder's files are on one path."""
    files = [path.name for layer in ("service", "contract", "facility") for path in (ROOT / "tests" / layer).rglob("test_*.py")]
    assert len(files) == len({*files}), sorted({name for name in files if files.count(name) > 1})
