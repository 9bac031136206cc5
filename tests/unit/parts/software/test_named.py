"""Images by name for submit files, and files made of registries' images: what is said and left. Real ones: the facility tests."""

from __future__ import annotations

import grp
import json
import os
import pwd
import tempfile
from pathlib import Path

import pytest

from farmlet.errors import FarmletError, InputError
from farmlet.parts import images
from farmlet.parts.images import Row
from farmlet.parts.own import Record, find, list_visible, tell
from farmlet.parts.software.members import making, named, own, pulled

ME = pwd.getpwuid(os.getuid()).pw_name


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    folder = tmp_path / "told"
    folder.mkdir()
    for place, row in (("unpacked", Row("hep", offered=True, path="/cvmfs/unpacked/hep")), ("unpacked", Row("bad"))):
        (tmp_path / place).mkdir(exist_ok=True)
        images.save([*images.load(tmp_path / place).values(), row], tmp_path / place)
    foreign = "r.test:5000/lab/x:1"
    (tmp_path / "unpacked.af.test").mkdir()
    images.save([Row(foreign, offered=True, path=f"/cvmfs/unpacked.af.test/{foreign}")], tmp_path / "unpacked.af.test")
    return folder


def record(path: Path, name: str) -> Record:
    path.write_bytes(b"an image")
    file = path.stat()
    return Record(name, str(path), file.st_size, file.st_mtime_ns, "analysis-0123456789ab", 1.0, "6.1.1")


def test_a_name_is_that_of_the_page_which_starts_servers(tmp_path: Path, told: Path) -> None:
    tell(record(tmp_path / "fit.sif", "fit"), told)
    tell(record(tmp_path / "hep.sif", "hep"), told)

    def use(name: str) -> str:
        return named.find(name, tmp_path / "unpacked", told)

    assert use("hep") == "/cvmfs/unpacked/hep", "the facility's comes first"
    assert use(f"{ME}/hep") == str(tmp_path / "hep.sif")
    assert use("fit") == use(f"{ME}/fit") == str(tmp_path / "fit.sif")
    assert use("r.test:5000/lab/x:1") == "/cvmfs/unpacked.af.test/r.test:5000/lab/x:1"
    for name in ("bad", "", "olga/fit", "../etc", "x\ny"):
        with pytest.raises(InputError, match=r"there are: fit, hep, r\.test:5000/lab/x:1, "):
            use(name)


@pytest.mark.parametrize("name", ["a,b.sif", "a\nqueue.sif", "$(HOME).sif", "a b.sif", "fit.img"])
def test_what_somebody_tells_adds_nothing_to_a_submit_file(tmp_path: Path, told: Path, name: str) -> None:
    tell(record(tmp_path / name, "odd"), told)
    with pytest.raises(InputError):
        named.find("odd", tmp_path / "unpacked", told)


def test_an_image_of_a_registry_becomes_a_file(tmp_path: Path, told: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    def run(words: list[str], where: str, seconds: int = 0) -> str:
        seen.append(words)
        if words[2] == "build":
            Path(words[4]).write_text("a file")
        return "profile says hello\nhub 6.1.0\n"

    monkeypatch.setattr(pulled, "run", run)
    monkeypatch.setattr(making.own, "tell", lambda one: tell(one, told))
    monkeypatch.setenv("APPTAINER_TMPDIR", "/tmp")
    monkeypatch.chdir(tmp_path)
    assert own.main(["docker://reg.test:5000/lab/Tool@sha256:00"]) == 0
    assert [path.name for path in tmp_path.glob("*.sif")] == ["tool.sif"] and not list(tmp_path.glob(".*"))
    assert [words[2] for words in seen] == ["build", "exec"] and seen[0][-1] == "docker://reg.test:5000/lab/Tool@sha256:00"
    assert find(told)[os.getuid(), "tool"].hub == "6.1.0"

    def fail(words: list[str], where: str, seconds: int = 0) -> str:
        raise FarmletError(where, "no space left on device")

    monkeypatch.setattr(pulled, "run", fail)
    assert own.main(["docker://reg.test/lab/tool:2"]) == 1
    assert (tmp_path / "tool.sif").read_text() == "a file" and not list(tmp_path.glob(".*"))


def test_it_is_unpacked_where_apptainer_finds_what_is_mounted(tmp_path: Path) -> None:
    device = tmp_path.stat().st_dev
    for number, found in ((device, True), (device + 1, False)):
        (tmp_path / "mountinfo").write_text(f"1 2 {os.major(number)}:{os.minor(number)} / /home rw - ext4 x rw\n")
        assert pulled.is_mounted(tmp_path, str(tmp_path / "mountinfo")) == found


def test_who_has_the_right_shows_images_to_all_and_takes_them_back(
    tmp_path: Path, told: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # pytest's own folders are closed to others
    with tempfile.TemporaryDirectory(prefix="farmlet-test-", dir="/var/tmp") as name:
        place, publishers = Path(name), tmp_path / "publishers.json"
        place.chmod(0o711)
        tell(record(place / "fit.sif", "fit"), told)

        def publish(public: bool = True) -> str:
            return named.publish("fit", public, told, publishers)

        def see() -> list[str]:
            with monkeypatch.context() as other:
                other.setattr(os, "geteuid", lambda: 54321)
                other.setattr(os, "getegid", lambda: 54321)
                other.setattr(os, "getgroups", list)
                return [f"{owner}/{one.name}" for owner, one in list_visible(told, publishers)]

        with pytest.raises(InputError, match="the right `publish`"):
            publish()
        publishers.write_text(json.dumps([grp.getgrgid(os.getgid()).gr_name]))
        assert see() == []
        assert publish() == str(place / "fit.sif")
        assert see() == [f"{ME}/fit"]
        publishers.write_text('["others"]')
        assert see() == [], "the right is gone"
        publishers.write_text(json.dumps([grp.getgrgid(os.getgid()).gr_name]))
        publish(public=False)
        assert see() == []
        place.chmod(0o700)
        with pytest.raises(InputError, match="nobody else gets past"):
            publish()
        with pytest.raises(InputError, match="you have no image 'none'"):
            named.publish("none", True, told, publishers)


@pytest.mark.parametrize(
    "reference", ["docker://", "docker://-x", "docker://a b", "docker://a\n--fakeroot", "docker://host/...:x"]
)
def test_what_is_no_image_is_refused(tmp_path: Path, reference: str) -> None:
    with pytest.raises(InputError):
        pulled.pull(reference, "", tmp_path)
