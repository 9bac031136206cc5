"""The notebook that every member finds beside their server: the demo's analysis, which reads a file of theirs on storage."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files

from farmlet.parts.part import Context
from farmlet.parts.resources import Directory, File, Resource

NOTEBOOK = "z-peak.ipynb"
MODULES = ("__init__.py", "dimuon.py", "fit.py", "plot.py", "shape.py")


def install(context: Context, folder: str) -> Iterator[Resource]:
    """Below `folder`, where there is storage to read from; members copy it into their home."""
    if not context.addresses:
        return
    source = files("farmlet.demo") / "analysis"
    text = (source / NOTEBOOK).read_text().replace("@@url", f"{context.addresses[0]}/users/$USER/z-peak.root")
    yield from map(Directory, (folder, f"{folder}/analysis"))
    yield File(f"{folder}/{NOTEBOOK}", text)
    for name in MODULES:
        yield File(f"{folder}/analysis/{name}", (source / name).read_text())
