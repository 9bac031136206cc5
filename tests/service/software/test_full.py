"""A disk that becomes full while images are made on it: what was there stays, nothing half is seen, room is given back."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from farmlet.errors import FarmletError
from farmlet.parts import images
from farmlet.parts.software import builder, trial
from farmlet.parts.software.builder import Builder
from farmlet.parts.software.members.own import Maker, Wish, make

pytestmark = [pytest.mark.service, pytest.mark.timeout(60)]
MIB = 1 << 20
# what Apptainer does for the member, but for the container; its packages do not compress
APPTAINER = """\
#!/bin/sh
for word; do case $word in --bind=*:/opt) opt=${word#--bind=} opt=${opt%:/opt};; esac; done
case "$*" in
*venv*) mkdir -p "$opt/own/lib/python3.13/site-packages" "$opt/own/bin";;
*install*) head -c @@SIZE "/dev/urandom" > "$opt/own/lib/python3.13/site-packages/data";;
*"sif new"*) : > "$4";;
esac
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "built"
    (root / "etc").mkdir(parents=True)
    (root / "etc/farmlet-image").write_text(f"analysis {'a' * 64}\n")
    (root / "large").write_bytes(os.urandom(20 * MIB))
    return root


def test_the_facilitys_images(tmp_path: Path, small: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder, "SPARE", 0)
    monkeypatch.setattr(trial, "run", lambda *words: trial.Told("6.1.1", {"x": (source / "large").stat().st_mtime_ns}, {}))
    layer = tmp_path / "layer.sh"
    layer.write_text('#!/bin/sh\nread -r size < "$2/requirements.txt"; head -c "$size" /dev/zero > "$1/added"\n')
    layer.chmod(0o755)

    def build(size: str) -> dict[str, images.Row]:
        wanted: list[dict[str, Any]] = [
            {"name": "analysis", "source": str(source), "stamp": "a" * 64},
            {"name": "hep", "base": "analysis", "requirements": [size]},
        ]
        Builder({"images": wanted, "hub": "", "keep_days": 7}, small, str(layer)).build()
        return images.load(small)

    before = build("1000")
    assert before["hep"].offered
    free = shutil.disk_usage(small).free
    after = build("90M")["hep"]
    assert after.offered and after.digest == before["hep"].digest and "No space left on device" in after.error
    # the check before it does not help when somebody else takes the room meanwhile
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1 << 40))
    (small / "others").write_bytes(bytes(free - 10 * MIB))
    assert "No space left on device" in build("2000")["hep"].error
    (small / "others").unlink()
    monkeypatch.undo()
    assert (small / "hep/added").stat().st_size == 1000 and not list((small / ".images").glob(".*"))
    assert free - shutil.disk_usage(small).free < MIB


@pytest.mark.parametrize("size", ["100M", "40M"], ids=["while its packages come", "while it is packed"])
def test_a_members_image_in_a_full_home(
    tmp_path: Path, small: Path, source: Path, monkeypatch: pytest.MonkeyPatch, size: str
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/apptainer").write_text(APPTAINER.replace("@@SIZE", size))
    (tmp_path / "bin/apptainer").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    wish = Wish(small / "fit", "fit", source, ("particle",), None)
    wish.folder.mkdir()
    wish.target.write_text("the one before")
    free = shutil.disk_usage(small).free
    monkeypatch.setattr(Maker, "test", lambda *words: pytest.fail("it is whole, and the disk was not full"))
    with pytest.raises(FarmletError, match="No space left on device"):
        make(wish)
    assert [path.name for path in wish.folder.iterdir()] == ["fit.sif"] and wish.target.read_text() == "the one before"
    assert free - shutil.disk_usage(small).free < MIB
