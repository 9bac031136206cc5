"""The servers of monitoring, of each test its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pieces import Pieces


@pytest.fixture
def pieces(tmp_path: Path) -> Iterator[Pieces]:
    made = Pieces(tmp_path)
    yield made
    made.close()
