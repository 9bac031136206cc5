"""An area that is told of wishes, and the registry that they are of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from imagery import Registry, entry, folder, layer

from farmlet.parts.images import Row
from farmlet.parts.software.unpacked.area import Area, Setting
from farmlet.parts.software.unpacked.leases import Job
from farmlet.parts.software.unpacked.wishes import check
from farmlet.runtime.checks import Failed

SMALL = layer(folder("bin"), entry("bin/sh", "x", 0o755))


class House:
    """A registry, and an area that is told of wishes."""

    def __init__(self, registry: Registry, folder: Path) -> None:
        self.registry, self.folder = registry, folder / "unpacked.af.test"
        self.folder.mkdir()
        self.setting = Setting(str(self.folder), "wishlist.yaml", "nobody", "", 7, 64 << 20, (), ())
        self.jobs: list[Job] | None = []
        self.tried: list[Path] = []

    def wish(self, *names: str) -> None:
        wishes = tuple(check(f"http://{self.registry.host}/{name}", number) for number, name in enumerate(names, start=5))
        self.setting = replace(self.setting, wishes=wishes)

    def open(self) -> Area:
        return Area(self.setting, self.read, lambda found: self.tried.append(found.root))

    def read(self, pool: str, results: Sequence[str]) -> list[Job]:
        if self.jobs is None:
            raise Failed("nobody answers")
        return self.jobs

    def run(self, *names: str) -> dict[str, Row]:
        if names:
            self.wish(*names)
        self.open().update()
        assert not (self.folder / ".work").exists()
        return {row.name.partition("/")[2]: row for row in self.open().list()}

    def place(self, name: str) -> Path:
        return self.folder / self.registry.host / name

    def flats(self) -> set[str]:
        return {path.name for path in (self.folder / ".flat").glob("*/*")}
