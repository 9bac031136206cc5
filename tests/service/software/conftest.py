"""One registry for all, and an area for each test."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import imagery
import pytest
from estate import House
from imagery import Registry

from farmlet.parts.software.unpacked import area


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with imagery.serve(tmp_path_factory.mktemp("registry")) as found:
        yield found


@pytest.fixture
def house(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.setattr("farmlet.parts.software.unpacked.unpack.SPARE", 0)
    monkeypatch.setattr(area, "SPARE", 0)
    # pytest's own folders are closed to the user that unpacks
    with tempfile.TemporaryDirectory(prefix="farmlet-test-", dir="/var/tmp") as place:
        Path(place).chmod(0o755)
        yield House(registry, Path(place))


@pytest.fixture
def small() -> Iterator[Path]:
    """A disk of its own, of 96 MiB, which may become full."""
    with tempfile.TemporaryDirectory(prefix="farmlet-test-", dir="/var/tmp") as name:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96m,mode=0755", "tmpfs", name], check=True)
        try:
            yield Path(name)
        finally:
            subprocess.run(["umount", name], check=True)
