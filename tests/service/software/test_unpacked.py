"""The unpacked area with a real registry, skopeo and umoci: what is shown, for how long, and how it goes."""

from __future__ import annotations

import stat
import tarfile
import time
from dataclasses import replace

import imagery
import pytest
from estate import SMALL, House
from imagery import entry, folder, layer, link

from farmlet.errors import FarmletError, InputError
from farmlet.parts.software.unpacked import area as module
from farmlet.parts.software.unpacked.area import Area
from farmlet.parts.software.unpacked.leases import Job
from farmlet.parts.software.unpacked.unpack import ENVIRONMENT, Unpacked
from farmlet.parts.software.unpacked.wish import Fault

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


@pytest.mark.parametrize(("kind", "how"), [("docker", "gzip"), ("oci", "gzip"), ("oci", ("zstd", "gzip")), ("oci", "zstd")])
def test_an_image_is_shown_as_its_layers_say(house: House, kind: str, how: str) -> None:
    config = {"Env": ["PATH=/opt/x:/bin", "ROOTSYS=/opt/it's", "bad-name=1"]}
    digest = house.registry.push("lab/mini", "v1", BASE, NEXT, kind=kind, how=how, config=config)
    row = house.run("lab/mini:v1")["lab/mini:v1"]
    assert (row.error, row.offered, row.digest, row.base) == ("", True, digest, "wishlist.yaml:5")
    place = house.place("lab/mini:v1")
    assert str(place.readlink()).startswith("../../.flat/") and place.resolve().parent.name == place.resolve().name[:2]
    files = {
        str(path.relative_to(place))
        for path in place.resolve().rglob("*")
        for path in [place / path.relative_to(place.resolve())]
    }
    assert {"data/stay", "cache/new", "usr/bin/tool", "usr/bin/again", "proc", "cvmfs", "etc/hosts", "var/tmp"} <= files
    assert not {"data/old", "cache/a", "cache/b", "data/.wh.old", "cache/.wh..wh..opq"} & files
    assert str((place / "bin").readlink()) == "usr/bin"
    assert (place / "usr/bin/tool").stat().st_ino == (place / "usr/bin/again").stat().st_ino
    modes = {
        name: stat.S_IMODE((place / name).stat().st_mode)
        for name in ("usr/bin/su", "usr/bin/write", "tmp", "etc/shadow", "etc/nothing")
    }
    assert modes == {"usr/bin/su": 0o755, "usr/bin/write": 0o755, "tmp": 0o1777, "etc/shadow": 0o600, "etc/nothing": 0}
    assert {path.lstat().st_uid for path in place.resolve().rglob("*")} == {0}
    assert row.note == "members cannot read 3 files of it: etc/nothing, etc/shadow, opt/private"
    script = (place / ".singularity.d/env" / ENVIRONMENT).read_text()
    assert "export PATH=/opt/x:/bin\n" in script and "bad-name" not in script
    kept = house.folder / ".metadata" / house.registry.host / "lab/mini:v1/manifest.json"
    assert imagery.digest(kept.read_bytes()) == digest
    house.run()
    assert len(house.tried) == 1, "nothing is done twice"


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


def test_a_star_stands_for_the_tags_there_are(house: House) -> None:
    for tag in ("v1", "v2", "w1"):
        house.registry.push("lab/star", tag, SMALL)
    rows = house.run("lab/star:v*", "lab/nostar:v*")
    assert [name for name, row in rows.items() if row.offered] == ["lab/star:v1", "lab/star:v2"]
    assert "wishlist.yaml:6" in rows["lab/nostar:v*"].error
    assert len(house.flats()) == 1, "one image under two tags is there once"
    assert (house.folder / ".flat" / ".cvmfscatalog").exists()
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
    for jobs in (
        None,
        [Job(name, begun)],
        [Job(name, 0.0)],
        [Job(f"{house.folder}/.flat/{first[:2]}/{first}/", far)],
        [Job(first, far)],
    ):
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
    with pytest.raises(InputError, match=r"line 5 of wishlist\.yaml asks for it"):
        house.open().remove(name)
    with pytest.raises(InputError, match="is not there"):
        house.open().remove("../../etc")
    house.wish()
    assert house.run()["lab/gone:v1"].base == "no line", "no line, but there: others may be in the midst of using it"
    (flat,) = [one for one in house.flats() if house.place("lab/gone:v1").resolve().name == one]
    house.jobs = [Job(str(house.folder / name), 0.0), Job(flat, 0.0)]
    with pytest.raises(FarmletError, match="is in use: by 2 jobs or nodes with notebooks"):
        house.open().remove(name)
    house.jobs = None
    with pytest.raises(FarmletError, match="nobody can say"):
        house.open().remove(name)
    house.jobs = []
    house.open().remove(name)
    assert not house.run() and not (house.folder / house.registry.host).exists() and len(house.flats()) == 1
    with pytest.raises(InputError, match=r"wishlist\.yaml does not ask for it"):
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
