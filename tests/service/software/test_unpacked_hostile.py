"""Images, registries and moments that the unpacked area must not be hurt by: nothing half is shown, and nothing is left over."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
from dataclasses import asdict
from pathlib import Path

import imagery
import pytest
from estate import SMALL, House
from imagery import entry, folder, layer, link

from farmlet.errors import FarmletError
from farmlet.parts.software.unpacked.layers import Told
from farmlet.parts.software.unpacked.unpack import settle

pytestmark = [pytest.mark.service, pytest.mark.timeout(120)]
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
        link("evil", str(outside)),
        link("up", "../../../../../../.." + str(outside)),
        link(".singularity.d", str(outside)),
        link("etc", str(outside)),
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


def test_what_is_no_image_is_refused(house: House) -> None:
    blob = house.registry.blob("lab/chart", b"{}")
    row = {"digest": blob, "size": 2}
    data = {"schemaVersion": 2, "mediaType": imagery.TYPES["oci"][0]}
    chart = data | {
        "config": row | {"mediaType": "application/vnd.cncf.helm.config.v1+json"},
        "layers": [row | {"mediaType": "x/y"}],
    }
    house.registry.manifest("lab/chart", "v1", chart)
    foreign = {"mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "digest": blob, "size": 2}
    house.registry.manifest(
        "lab/chart", "v2", data | {"config": row | {"mediaType": imagery.TYPES["oci"][1]}, "layers": [foreign]}
    )
    rows = house.run("lab/chart:v1", "lab/chart:v2")
    assert "of a kind that cannot be unpacked: x/y" in rows["lab/chart:v1"].error
    assert "foreign.diff" in rows["lab/chart:v2"].error


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


@pytest.mark.parametrize(
    ("paths", "words"), [(["a", "b"], "1 of 2 files are missing, 0 are too many: b"), ([], "1 are too many: a")]
)
def test_what_is_not_what_the_layers_name_is_not_taken(tmp_path: Path, paths: list[str], words: str) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(FarmletError, match=words):
        settle(tmp_path, Told(paths, [], 0))


def test_what_is_said_of_devices_removes_nothing_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "other").touch()
    with pytest.raises(FarmletError, match="are missing"):
        settle(tmp_path / "root", Told(["x"], ["../other"], 0))
    assert (tmp_path / "other").exists()
