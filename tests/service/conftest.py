"""Which tests run in one process, one after another: those that share a server."""

from __future__ import annotations

import re

import pytest
from xdist.scheduler import LoadFileScheduling


class ByServer(LoadFileScheduling):
    """Those of the identity service by its database, all others by their file."""

    def _split_scope(self, nodeid: str) -> str:
        words = re.split(r"[\[\]-]", nodeid)
        return next((word for word in ("sqlite", "postgresql") if word in words), super()._split_scope(nodeid))


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByServer:
    return ByServer(config, log)
