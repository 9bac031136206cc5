"""The unpacked area with a real registry, skopeo and umoci: what is shown, what is refused, what is left after it."""

from __future__ import annotations

import json
import os
import stat
import tarfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import imagery
import pytest
from imagery import Registry, entry, folder, layer, link

from farmlet.errors import FarmletError, InputError
from farmlet.parts.images import Row
from farmlet.parts.software.unpacked import area as module
from farmlet.parts.software.unpacked.area import Area, Setting
from farmlet.parts.software.unpacked.leases import Job
from farmlet.parts.software.unpacked.unpack import ENVIRONMENT, Unpacked
from farmlet.parts.software.unpacked.wish import Fault
from farmlet.parts.software.unpacked.wishes import check
from farmlet.runtime.checks import Failed

pytestmark = [pytest.mark.service, pytest.mark.timeout(120)]
BASE = layer(
    folder("usr/bin"),
    entry("usr/bin/sh", "#!x", 0o755),
    entry("usr/bin/su", "root", 0o4755),
    entry("usr/bin/write", "tty", 0o2755),
    link("bin", "usr/bin"),
    folder("tmp", 0o1777),
    folder("etc"),
    entry("etc/shadow", "secret", 0o600),
    entry("etc/nothing", "zero", 0),
    folder("opt/private", 0o700),
    entry("opt/private/key", "k"),
    folder("data"),
    entry("data/old", "old"),
    entry("data/stay", "stay"),
    folder("cache"),
    entry("cache/a", "a"),
    entry("cache/b", "b"),
)
NEXT = layer(
    entry("data/.wh.old"),
    entry("cache/new", "new"),
    entry("cache/.wh..wh..opq"),
    entry("bin/tool", "tool", 0o755),  # by way of the link
    entry("usr/bin/again", kind=tarfile.LNKTYPE, link="usr/bin/tool"),
)


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

    def read(self, pool: str) -> list[Job]:
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


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with imagery.serve(tmp_path_factory.mktemp("registry")) as found:
        yield found


@pytest.fixture
def house(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.setattr("farmlet.parts.software.unpacked.unpack.SPARE", 0)
    monkeypatch.setattr(module, "SPARE", 0)
    for place in (tmp_path, *tmp_path.parents[:3]):
        place.chmod(place.stat().st_mode | 0o011)
    return House(registry, tmp_path)


@pytest.mark.parametrize(("kind", "how"), [("docker", "gzip"), ("oci", "gzip"), ("oci", ("zstd", "gzip")), ("oci", "zstd")])
def test_an_image_is_shown_as_its_layers_say(house: House, kind: str, how: str) -> None:
    config = {"Env": ["PATH=/opt/x:/bin", "ROOTSYS=/opt/it's", "bad-name=1"]}
    digest = house.registry.push("lab/mini", "v1", BASE, NEXT, kind=kind, how=how, config=config)
    row = house.run("lab/mini:v1")["lab/mini:v1"]
    assert (row.error, row.offered, row.digest, row.base) == ("", True, digest, "wishlist.yaml:5")
    place = house.place("lab/mini:v1")
    assert os.readlink(place).startswith("../../.flat/") and place.resolve().parent.name == place.resolve().name[:2]
    files = {str(path.relative_to(place)) for path in place.resolve().rglob("*") for path in [place / path.relative_to(place.resolve())]}
    assert {"data/stay", "cache/new", "usr/bin/tool", "usr/bin/again", "proc", "cvmfs", "etc/hosts", "var/tmp"} <= files
    assert not {"data/old", "cache/a", "cache/b", "data/.wh.old", "cache/.wh..wh..opq"} & files
    assert os.readlink(place / "bin") == "usr/bin"
    assert (place / "usr/bin/tool").stat().st_ino == (place / "usr/bin/again").stat().st_ino
    modes = {name: stat.S_IMODE((place / name).stat().st_mode) for name in ("usr/bin/su", "usr/bin/write", "tmp", "etc/shadow", "etc/nothing")}
    assert modes == {"usr/bin/su": 0o755, "usr/bin/write": 0o755, "tmp": 0o1777, "etc/shadow": 0o600, "etc/nothing": 0}
    assert {path.lstat().st_uid for path in place.resolve().rglob("*")} == {0}
    assert row.note == "members cannot read 3 files of it: etc/nothing, etc/shadow, opt/private"
    script = (place / ".singularity.d/env" / ENVIRONMENT).read_text()
    assert "export PATH=/opt/x:/bin\n" in script and "bad-name" not in script
    kept = house.folder / ".metadata" / house.registry.host / "lab/mini:v1/manifest.json"
    assert imagery.digest(kept.read_bytes()) == digest
    house.run()
    assert len(house.tried) == 1, "nothing is done twice"
