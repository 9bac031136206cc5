"""What one run of the tests is, with as many processes as it has: a folder of its own, and lanes."""

from __future__ import annotations

import os

import pytest

import once
from lanes import Lanes, find_lane, rank


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        once.open_run()


def pytest_sessionfinish(session: pytest.Session) -> None:
    if not hasattr(session.config, "workerinput") and not os.environ.get("FARMLET_RETAIN"):
        once.close_run()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: rank(find_lane(item.nodeid)))


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Lanes | None:
    return Lanes(config, log) if config.option.dist == "loadscope" else None
