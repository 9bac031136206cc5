"""What tests of several files here use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dcache.centre import Centre


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Centre]:
    """A stand-in for a dCache."""
    found = Centre(tmp_path_factory.mktemp("dcache"))
    yield found
    found.close()
