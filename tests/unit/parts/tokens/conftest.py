from __future__ import annotations

from collections.abc import Iterator

import pytest
from rotation import Issuer, run


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with run() as server:
        yield server


@pytest.fixture
def other() -> Iterator[Issuer]:
    with run() as server:
        yield server
