"""The packages of a member's own image, unpacked by the real unsquashfs as a server has them."""

from __future__ import annotations

import os
import pwd
import subprocess
from pathlib import Path

import pytest

from farmlet.errors import FarmletError
from farmlet.parts.notebooks import own
from farmlet.parts.notebooks.inside import start
from farmlet.parts.own import Record, tell

pytestmark = pytest.mark.service
ME = pwd.getpwuid(os.getuid()).pw_name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "told").mkdir()
    return tmp_path / "told"


def tell_of(image: Path, folder: Path) -> None:
    file = image.stat()
    tell(Record("fit", str(image), file.st_size, file.st_mtime_ns, "analysis-0123456789ab", 1.0, "6"), folder)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """As `farmlet-image` makes them: a header, then a squashfs."""
    packages = tmp_path / "root" / "opt" / "own"
    (packages / "bin").mkdir(parents=True)
    (packages / "bin" / "python3").symlink_to("/usr/bin/python3")
    (packages / "seen").mkdir()
    (packages / "seen" / "seen.py").write_text("print('first')\n")
    (packages / "first.pth").write_text(f"import sys; sys.path.append('{tmp_path}/opt/seen')\n")
    (packages / "leak").symlink_to("/etc/shadow")
    (packages / "more").write_text("")
    (packages / "more").chmod(0o4755)
    subprocess.run(["mksquashfs", tmp_path / "root", tmp_path / "squashed", "-quiet", "-no-progress"], check=True)
    file = tmp_path / "fit.sif"
    file.write_bytes(bytes(2 * own.PAGE) + (tmp_path / "squashed").read_bytes())
    return file


def test_its_packages_are_unpacked_once_and_older_ones_go(folder: Path, image: Path, tmp_path: Path) -> None:
    place = tmp_path / "home"
    (place / own.FOLDER / "used").mkdir(parents=True)
    (place / own.FOLDER / "old").mkdir()
    tell_of(image, folder)
    kept = [str(place / own.FOLDER / "used")]
    found = Path(own.unpack(folder, ME, "fit", place, kept))
    assert (found / "leak").is_symlink() and (found / "bin" / "python3").is_symlink()
    assert sorted(path.name for path in found.parent.iterdir()) == sorted([found.name, "used"])
    (found / "mark").touch()
    assert own.unpack(folder, ME, "fit", place, kept) == str(found) and (found / "mark").exists()
    with pytest.raises(FarmletError, match="not there any more"):
        own.unpack(folder, ME, "none", place, [])
    # in the container: where jobs have it, for every Python, and behind the image's programs
    environment = {"FARMLET_OWN": str(found), "PATH": os.environ["PATH"]}
    place = tmp_path / "opt"
    place.mkdir()
    start.put_own(place, environment)
    assert environment["PATH"] == f"{os.environ['PATH']}:{place}/bin" and (place / "bin" / "python3").is_symlink()
    said = subprocess.run(["python3", "-c", "import seen"], env=environment, capture_output=True, text=True, check=True).stdout
    assert said == "first\n"


@pytest.mark.parametrize(
    "content", [b"", b"x" * 9000, bytes(own.PAGE) + b"hsqs" + b"\xff" * 8000], ids=["empty", "none", "broken"]
)
def test_what_is_no_image_leaves_nothing(folder: Path, tmp_path: Path, content: bytes) -> None:
    image = tmp_path / "fit.sif"
    image.write_bytes(content)
    tell_of(image, folder)
    with pytest.raises(FarmletError):
        own.unpack(folder, ME, "fit", tmp_path, [])
    assert list((tmp_path / own.FOLDER).iterdir()) == []
