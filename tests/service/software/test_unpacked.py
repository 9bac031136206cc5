"""The unpacked area with a real registry, skopeo and umoci: what is shown, what is refused, what is left after it."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
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
def house(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.setattr("farmlet.parts.software.unpacked.unpack.SPARE", 0)
    monkeypatch.setattr(module, "SPARE", 0)
    # pytest's own folders are closed to the user that unpacks
    with tempfile.TemporaryDirectory(prefix="farmlet-test-", dir="/var/tmp") as place:
        Path(place).chmod(0o755)
        yield House(registry, Path(place))


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


SMALL = layer(folder("bin"), entry("bin/sh", "x", 0o755))
DEVICE = layer(
    folder("dev"),
    entry("dev/disk", mode=0o666, kind=tarfile.BLKTYPE),
    entry("dev/null", mode=0o666, kind=tarfile.CHRTYPE),
    entry("pipe", kind=tarfile.FIFOTYPE),
)


def test_what_would_leave_the_image_stays_in_it(house: House) -> None:
    outside = house.folder.parent / "outside"
    outside.mkdir()
    outside.chmod(0o777)
    links = layer(
        link("evil", str(outside)), link("up", "../../../../../../.." + str(outside)), link(".singularity.d", str(outside)), link("etc", str(outside))
    )
    below = layer(entry("evil/one", "1"), entry("up/two", "2"), entry(f"/{outside}/three", "3"), entry("etc/passwd", "4"))
    house.registry.push("lab/links", "v1", SMALL, links, below)
    row = house.run("lab/links:v1")["lab/links:v1"]
    assert row.error == "" and not list(outside.iterdir())
    inside = Path(f"{house.place('lab/links:v1').resolve()}{outside}")
    assert sorted(path.name for path in inside.iterdir()) == ["one", "passwd", "three", "two"]


def test_devices_are_left_out_and_told(house: House) -> None:
    house.registry.push("lab/devices", "v1", SMALL, DEVICE)
    row = house.run("lab/devices:v1")["lab/devices:v1"]
    assert (row.error, row.note) == ("", "3 devices are left out")
    assert not list((house.place("lab/devices:v1") / "dev").iterdir()) and not (house.place("lab/devices:v1") / "pipe").exists()


@pytest.mark.parametrize(
    ("layers", "more", "words"),
    [
        ((SMALL, layer(entry("../../out", "x"))), {}, "its layers: hold a name that leads out of it: ../../out"),
        ((SMALL, layer(entry("a/../../out", "x"))), {}, "leads out of it"),
        ((SMALL, layer(entry("hard", kind=tarfile.LNKTYPE, link="../../etc/hosts"))), {}, "leads out of it"),
        ((SMALL, layer(entry("hard", kind=tarfile.LNKTYPE, link="/etc/hosts"))), {}, "its layers: "),
        ((SMALL, layer(link("a", "b"), link("b", "a"), entry("a/x", "x"))), {}, "in a circle"),
        ((SMALL, layer(entry("x" * 4097, "x"))), {}, "too long"),
        ((layer(entry("zero", "\0" * (65 << 20))),), {}, "hold more than 64 MiB of files"),
        ((b"no archive at all" * 100,), {}, "its layers: cannot be read"),
        ((SMALL,), {"rootfs": {"type": "layers", "diff_ids": ["sha256:" + "0" * 64]}}, "mismatch"),
        ((SMALL,), {"rootfs": {"diff_ids": []}}, "does not name the content of each layer"),
        ((SMALL,), {"rootfs": 7}, "does not name the content of each layer"),
        ((SMALL,), {"architecture": "s390x"}, "its configuration: is for linux/s390x, and this is linux/"),
        ((SMALL,), {"os": "windows"}, "is for windows/"),
    ],
)
def test_a_hostile_image_is_refused_in_words_and_leaves_nothing(
    house: House, layers: tuple[bytes, ...], more: dict[str, object], words: str
) -> None:
    house.registry.push("lab/bad", "v1", *layers, **more)
    house.registry.push("lab/good", "v1", SMALL)
    rows = house.run("lab/bad:v1", "lab/good:v1")
    assert words in rows["lab/bad:v1"].error and rows["lab/bad:v1"].error.startswith("wishlist.yaml:5: ")
    assert not rows["lab/bad:v1"].offered and not os.path.lexists(house.place("lab/bad:v1"))
    assert rows["lab/good:v1"].offered, "one costs no other"
    assert len(house.flats()) == 1


def test_a_content_that_is_not_its_digests_is_refused(house: House) -> None:
    for name, which in (("layer", "layers"), ("config", "config"), ("manifest", "")):
        digest = house.registry.push(f"lab/{name}", "v1", SMALL, layer(entry(name, name)), config={"User": name})
        told = json.loads(house.registry.find(digest).read_text())
        found = digest if not which else told["config"]["digest"] if which == "config" else told["layers"][-1]["digest"]
        path = house.registry.find(found)
        data = path.read_bytes()
        path.write_bytes(data.replace(b'"size"', b'"sizE"', 1) if name == "manifest" else data[:-1] + b"?")
    rows = house.run("lab/layer:v1", "lab/config:v1", f"lab/manifest@{digest}", "lab/none:v1")
    assert [row.offered for row in rows.values()] == [False] * 4
    assert all(row.error for row in rows.values()) and "manifest unknown" in rows["lab/none:v1"].error
    assert not house.flats()


def test_of_an_index_the_image_for_this_machine_is_taken(house: House) -> None:
    other = house.registry.push("lab/index", "", SMALL, layer(entry("other", "x")), architecture="s390x")
    ours = house.registry.push("lab/index", "", SMALL, layer(entry("ours", "x")))
    house.registry.index("lab/index", "v1", {"s390x": other, imagery.HERE: ours})
    index = house.registry.index("lab/index", "v2", {"s390x": other})
    rows = house.run("lab/index:v1", "lab/index:v2", f"lab/index@{ours}", f"lab/index:pinned@{ours}")
    assert rows["lab/index:v1"].digest == ours and (house.place("lab/index:v1") / "ours").exists()
    assert "has nothing for linux/" in rows["lab/index:v2"].error and "linux/s390x" in rows["lab/index:v2"].error
    assert house.place(f"lab/index@{ours}").resolve() == house.place("lab/index:pinned").resolve()
    assert index and len(house.flats()) == 1


def test_what_is_no_image_is_refused(house: House) -> None:
    blob = house.registry.blob("lab/chart", b"{}")
    row = {"digest": blob, "size": 2}
    data = {"schemaVersion": 2, "mediaType": imagery.TYPES["oci"][0]}
    chart = data | {"config": row | {"mediaType": "application/vnd.cncf.helm.config.v1+json"}, "layers": [row | {"mediaType": "x/y"}]}
    house.registry.manifest("lab/chart", "v1", chart)
    foreign = {"mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "digest": blob, "size": 2}
    house.registry.manifest("lab/chart", "v2", data | {"config": row | {"mediaType": imagery.TYPES["oci"][1]}, "layers": [foreign]})
    rows = house.run("lab/chart:v1", "lab/chart:v2")
    assert "of a kind that cannot be unpacked: x/y" in rows["lab/chart:v1"].error
    assert "foreign.diff" in rows["lab/chart:v2"].error


def test_a_star_stands_for_the_tags_there_are(house: House) -> None:
    for tag in ("v1", "v2", "w1"):
        house.registry.push("lab/star", tag, SMALL)
    rows = house.run("lab/star:v*", "lab/nostar:v*")
    assert [name for name, row in rows.items() if row.offered] == ["lab/star:v1", "lab/star:v2"]
    assert "wishlist.yaml:6" in rows["lab/nostar:v*"].error
    assert len(house.flats()) == 1, "one image under two tags is there once"
    house.open().update(f"{house.registry.host}/lab/star:v2")


def test_a_moved_tag_is_followed_and_what_a_job_runs_in_stays(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.registry.push("lab/moved", "v1", SMALL, layer(entry("one", "1")))
    house.run("lab/moved:v1")
    (first,) = house.flats()
    begun = time.time()
    house.registry.push("lab/moved", "v1", SMALL, layer(entry("two", "2")))
    assert house.run()["lab/moved:v1"].offered and (house.place("lab/moved:v1") / "two").exists()
    name = str(house.place("lab/moved:v1"))
    far = time.time() + 30 * 86400
    monkeypatch.setattr(module.time, "time", lambda: far)
    for jobs in (None, [Job(name, begun)], [Job(name, 0.0)], [Job(f"{house.folder}/.flat/{first[:2]}/{first}/", far)]):
        house.jobs = jobs
        house.run()
        assert first in house.flats(), f"{jobs}: it is kept"
    house.jobs = [Job(name, far - 60), Job("/home/x/y.sif", 0.0)]
    house.run()
    assert first in house.flats(), "for some days after it was last used"
    far += 8 * 86400
    house.run()
    assert first not in house.flats() and len(house.flats()) == 1, "a job that began in the next one is not in this one"


def test_removal_says_why_not(house: House) -> None:
    house.registry.push("lab/gone", "v1", SMALL)
    house.run("lab/gone:v1")
    name = f"{house.registry.host}/lab/gone:v1"
    with pytest.raises(InputError, match="line 5 of wishlist.yaml asks for it"):
        house.open().remove(name)
    with pytest.raises(InputError, match="is not there"):
        house.open().remove("../../etc")
    house.wish()
    assert house.run()["lab/gone:v1"].base == "no line", "no line, but there: others may be in the midst of using it"
    house.jobs = [Job(str(house.folder / name), 0.0)] * 2
    with pytest.raises(FarmletError, match="is in use: 2 jobs run in it"):
        house.open().remove(name)
    house.jobs = None
    with pytest.raises(FarmletError, match="nobody can say"):
        house.open().remove(name)
    house.jobs = []
    house.open().remove(name)
    assert not house.run() and not (house.folder / house.registry.host).exists() and len(house.flats()) == 1
    with pytest.raises(InputError, match="wishlist.yaml does not ask for it"):
        house.open().update(name)


def test_a_bad_line_costs_that_line_and_is_told(house: House) -> None:
    house.registry.push("lab/good", "v2", SMALL)
    house.wish("lab/good:v2")
    house.setting = replace(house.setting, faults=(Fault(9, "alpine", "does not begin with a registry"),))
    rows = {row.name: row for row in house.open().list()} and house.run()
    assert rows["lab/good:v2"].offered and rows[""].error == "wishlist.yaml:9: does not begin with a registry"


def test_an_image_that_does_not_start_is_not_shown(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(found: Unpacked) -> None:
        raise FarmletError("its shell", "ended with 127")

    house.registry.push("lab/broken", "v1", SMALL, layer(entry("broken", "x")))
    house.wish("lab/broken:v1")
    Area(house.setting, house.read, fail).update()
    (row,) = house.open().list()
    assert not row.offered and "its shell: ended with 127" in row.error and not house.flats()


MANY = layer(*(entry(f"many/{number}", f"{number}" * 400) for number in range(4000)))


def test_what_is_killed_while_unpacking_shows_nothing_and_is_made_up_for(house: House, tmp_path: Path) -> None:
    house.registry.push("lab/many", "v1", SMALL, MANY)
    house.wish("lab/many:v1")
    config = tmp_path / "unpacked.json"
    config.write_text(json.dumps(asdict(house.setting)))
    process = subprocess.Popen([sys.executable, "-m", "farmlet.parts.software.unpacked.program", "--config", config, "run"])
    while not (house.folder / ".work/root/many").exists():
        assert process.poll() is None
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert not (house.folder / house.registry.host).exists() and not house.flats()
    assert house.run()["lab/many:v1"].offered
    assert len(list((house.place("lab/many:v1") / "many").iterdir())) == 4000


def test_on_a_full_disk_nothing_is_half_there_and_the_space_is_given_back(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.registry.push("lab/many", "v1", SMALL, MANY)
    house.registry.push("lab/small", "v1", SMALL)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6M,mode=755", "test", house.folder], check=True)
    try:
        rows = house.run("lab/many:v1", "lab/small:v1")
        assert re.search(r"the disk: has [0-9] MiB free, and it needs \d+ MiB", rows["lab/many:v1"].error)
        assert rows["lab/small:v1"].offered
        plenty = shutil.disk_usage(house.folder)._replace(free=1 << 40)
        monkeypatch.setattr("farmlet.parts.software.unpacked.unpack.shutil.disk_usage", lambda path: plenty)
        row = house.run()["lab/many:v1"]
        monkeypatch.undo()
        assert "no space left on device" in row.error and len(house.flats()) == 1
        assert shutil.disk_usage(house.folder).used < 200 << 10
    finally:
        subprocess.run(["umount", house.folder], check=True)


def test_odd_layers_are_read_as_umoci_unpacks_them(house: House) -> None:
    first = layer(
        *(entry(f"{name}/old", "x") for name in ("same", "part", "opaque", "late", "file")),
        *(entry(f"part/deep/{name}") for name in ("a", "b")),
        *(entry(f"late/deep/{name}") for name in ("a", "b")),
        folder("real"),
        link("dir", "real"),
        link("rooted", "/../../real"),
        entry("plain"),
    )
    second = layer(
        *(entry("same/old", "y"), entry("same/.wh.old")),
        *(entry("part/deep/new"), entry("part/.wh.deep")),
        *(entry("opaque/new"), entry("opaque/.wh..wh..opq")),
        *(entry("late/.wh..wh..opq"), entry("late/deep/new"), entry("late/new")),
        entry("file"),
        *(folder("dir"), entry("dir/x")),
        entry("rooted/y"),
        *(folder("plain"), entry("plain/z")),
        *(entry("nothing/.wh.here"), entry("void/.wh..wh..opq")),
    )
    third = layer(entry(".wh.same"), entry("part/.wh.deep"))
    for tag, layers in (("v2", (first, second)), ("v3", (first, second, third))):
        house.registry.push("lab/odd", tag, SMALL, *layers)
    rows = house.run("lab/odd:v2", "lab/odd:v3")
    assert [row.error for row in rows.values()] == ["", ""]
