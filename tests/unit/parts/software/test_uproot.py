"""The uproot of the analysis image reads by XRootD's binding, which takes Python's own integers and no others."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import awkward
import fsspec
import numpy
import pytest
import uproot
from fsspec.implementations.local import LocalFileSystem

from farmlet.parts.software.image import requirements

EVENTS = 20_000


class Strict(LocalFileSystem):  # type: ignore[misc]  # fsspec has no types
    """Reads as `fsspec-xrootd` does, and refuses what XRootD's binding refuses."""

    protocol = ("strict",)

    def cat_file(self, path: str, start: Any = None, end: Any = None, **options: Any) -> bytes:
        for offset in (start, end):
            assert offset is None or type(offset) is int, f"integer argument expected for offset, not {type(offset)}"
        found: bytes = super().cat_file(path, start=start, end=end, **options)
        return found


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two files with a number and a list of numbers an event."""
    fsspec.register_implementation("strict", Strict, clobber=True)
    folder = tmp_path_factory.mktemp("events")
    counts = numpy.arange(EVENTS) % 4
    lists = awkward.unflatten(numpy.arange(counts.sum(), dtype=float), counts)
    for name in ("a", "b"):
        with uproot.recreate(folder / f"{name}.root") as file:
            file.mktree("events", {"x": "float64", "jets": "var * float64"})
            for _ in range(2):
                file["events"].extend({"x": numpy.ones(EVENTS), "jets": lists})
    return f"strict://{folder}"


def test_it_is_the_images() -> None:
    assert f"uproot=={version('uproot')} " in requirements()


@pytest.mark.parametrize("step", [{}, {"step_size": "100 kB"}, {"step_size": 7000}])
def test_steps(url: str, step: dict[str, Any]) -> None:
    files = [f"{url}/{name}.root:events" for name in ("a", "b")]
    assert sum(len(part) for part in uproot.iterate(files, **step)) == 4 * EVENTS


def test_whole(url: str) -> None:
    tree = uproot.open(f"{url}/a.root:events")
    assert len(tree.arrays()) == 2 * EVENTS and tree["x"].array(library="np").sum() == 2 * EVENTS
    assert awkward.sum(awkward.num(tree["jets"].array())) == 2 * 30_000
    assert len(uproot.concatenate([f"{url}/a.root:events", f"{url}/b.root:events"])) == 4 * EVENTS
