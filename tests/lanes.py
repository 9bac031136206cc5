"""Lanes: which tests run one after another in one process, and in what order the lanes are taken up."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from xdist.scheduler import LoadScopeScheduling

import budgets

if TYPE_CHECKING:
    from xdist.workermanage import WorkerController

# `up` makes the sandbox that the rest of the facility tests stand on; until then the other processes take what needs none. Then
# come the lanes that make one of their own, with one between them, for two that come up at once keep all others waiting; then
# the longest. `purge` comes when everything else has ended.
ORDER = ("up", "sqlite", "postgresql", "harm", "guest", "demo", "edit")
FIRST, LAST = "up", "purge"
LANE = re.compile(r'pytest\.mark\.lane\("(\w+)"\)')
ROOT = Path(__file__).parents[1]


def find_lane(nodeid: str) -> str:
    """The lane that a test's file names; of the identity service's, its database; else the file itself.

    By the text of the file: the process that hands out the tests has imported none of them.
    """
    file, _, name = nodeid.partition("::")
    words = re.split(r"[\[\]-]", name)
    databases = [word for word in ("sqlite", "postgresql") if word in words]
    return databases[0] if databases else _read_lane(file)


@cache
def _read_lane(file: str) -> str:
    path = ROOT / file
    text = path.read_text() if path.exists() else ""
    if found := LANE.search(text):
        return found[1]
    return "harm" if "pytest.mark.disturbs(" in text else path.stem


def rank(lane: str) -> tuple[int, int]:
    """By which lanes are sorted: where they stand in ORDER, and how long they may take."""
    return ORDER.index(lane) if lane in ORDER else len(ORDER) + (lane == LAST), -_read_budgets()[lane]


@cache
def _read_budgets() -> Counter[str]:
    """Seconds that the facility tests of a lane may take together."""
    found: Counter[str] = Counter()
    for file, (lane, seconds) in budgets.read().items():
        found[file if lane == "test" else lane] += seconds
    return found


class Lanes(LoadScopeScheduling):
    """A process gets its next lane when only the last test of the one before is left: it begins that only then."""

    def _split_scope(self, nodeid: str) -> str:
        return find_lane(nodeid)

    def mark_test_complete(self, node: WorkerController, item_index: int, duration: float = 0) -> None:
        super().mark_test_complete(node, item_index, duration)
        for other in self.nodes:  # what one ends may be what another waits for
            self._reschedule(other)

    def _reschedule(self, node: WorkerController) -> None:
        if node.shutting_down:
            return
        if not self.workqueue:
            node.shutdown()
        elif self._pending_of(self.assigned_work[node]) <= 1 and not self._assign_work_unit(node):
            others = [other for other in self.nodes if other is not node and not other.shutting_down]
            if others and not self._is_begun(FIRST):  # they do what is left
                node.shutdown()

    def _assign_work_unit(self, node: WorkerController) -> bool:
        """The next lane that may begin; False when there is none just now."""
        lane = next((lane for lane in self.workqueue if self._may_begin(lane, node)), None)
        if lane is None:
            return False
        self.workqueue.move_to_end(lane, last=False)
        super()._assign_work_unit(node)
        return True

    def _may_begin(self, lane: str, node: WorkerController) -> bool:
        if lane == LAST:
            others = [work for other, work in self.assigned_work.items() if other is not node]
            return len(self.workqueue) == 1 and not any(self._pending_of(work) for work in others)
        needs = any(test.startswith("tests/facility/") for test in self.workqueue[lane])
        return lane == FIRST or not (needs and self._is_begun(FIRST))

    def _is_begun(self, lane: str) -> bool:
        """Whether a lane is under way, with more than its last test to do."""
        return any(list(work.get(lane, {}).values()).count(False) > 1 for work in self.assigned_work.values())
