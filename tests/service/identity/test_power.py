"""What was answered is on disk: the machine loses its power; and a disk that was full has room again.

The file system is ext4 on a loop device. A copy of the image at a moment is what its disk holds then: what waits in memory is
not in it, as after a reset, and mounting the copy replays the journal, as the next boot does.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from issuer import Service, found

import farmlet.engine.payload
from farmlet.parts.identity.service.keys import rotation
from farmlet.parts.identity.service.keys.keys import ensure_keys
from farmlet.runtime import audit, files

pytestmark = pytest.mark.service
Reset = Callable[[], Path]


def run(*words: object) -> None:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty file system that writes nothing by itself in the next ten minutes."""
    folder = tmp_path_factory.mktemp("power")
    image, mount = folder / "image", folder / "mount"
    with image.open("wb") as stream:
        stream.truncate(96 << 20)
    run("mkfs.ext4", "-q", "-F", image)
    mount.mkdir()
    run("mount", "-o", "loop,commit=600", image, mount)
    yield mount
    run("umount", mount)


@pytest.fixture
def reset(disk: Path, tmp_path: Path) -> Iterator[Reset]:
    """Cuts the power: gives what is on the disk after the next boot."""
    mounts: list[Path] = []

    def cut() -> Path:
        image, mount = tmp_path / f"image{len(mounts)}", tmp_path / f"mount{len(mounts)}"
        run("cp", "--sparse=always", disk.parent / "image", image)
        mount.mkdir()
        run("mount", "-o", "loop", image, mount)
        mounts.append(mount)
        return mount

    yield cut
    for mount in mounts:
        run("umount", mount)


@pytest.fixture(scope="module")
def issuer(disk: Path) -> Iterator[Service]:
    (disk / "identity").mkdir()
    with found(disk / "identity") as running:
        os.sync()  # what the test itself has put there
        yield running


def ask(folder: Path, question: str) -> list[str]:
    with closing(sqlite3.connect(folder / "identity" / "db" / "db.sqlite3")) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return [str(row[0]) for row in database.execute(question)]


def test_decisions_outlive_a_power_failure(issuer: Service, reset: Reset) -> None:
    issuer.join("ada")
    after = reset()
    assert ask(after, "SELECT password LIKE 'scrypt%' FROM identity_member WHERE name = 'ada'") == ["1"]
    issuer.do("member", "suspend", "ada")
    after = reset()
    assert ask(after, "SELECT state FROM identity_member WHERE name = 'ada'") == ["suspended"]
    log = after / "identity" / "db" / "audit.log"
    assert audit.verify(log) and list(audit.read(log))[-1]["event"] == "member.suspended"
    issuer.do("client", "ensure", "gallery", "--public", "--grant=device")
    assert ask(reset(), "SELECT client_id FROM identity_client WHERE client_id = 'gallery'") == ["gallery"]


def test_keys_that_were_given_up_do_not_come_back(disk: Path, reset: Reset) -> None:
    """Without the service, whose audit log would write all that waits on ext4."""
    folder = disk / "keys"
    before = {slot.path for slot in ensure_keys(folder)}
    files.sync(disk)
    rotation.replace(folder)
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert {path.name: path.read_bytes() for path in (reset() / "keys").iterdir()} == after
    assert after and not any(path.exists() for path in before)


def test_a_refresh_is_there_with_the_next_decision(issuer: Service, reset: Reset) -> None:
    """It does not wait for the disk itself: a power failure may take it back, see `concepts/security.md`."""
    browser, _ = issuer.join("carol")
    token = issuer.connect(browser)["refresh_token"]
    fresh = issuer.refresh(token).body["refresh_token"]
    issuer.do("client", "ensure", "other", "--public", "--grant=device")
    known = "SELECT current FROM identity_connection JOIN identity_member m ON m.id = member_id WHERE m.name = 'carol'"
    assert ask(reset(), known) == [str(row[0]) for row in issuer.execute(known)]
    assert issuer.refresh(fresh).status == 200


def test_files_of_programs_outlive_it_with_their_names(disk: Path, reset: Reset) -> None:
    folder = disk / "files"
    folder.mkdir()
    files.sync(disk)
    for data in (b"old", b"new"):
        files.write(folder / "one", data)
        assert (reset() / "files" / "one").read_bytes() == data
    files.rename(folder / "one", disk / "moved")
    after = reset()
    assert (after / "moved").read_bytes() == b"new" and not (after / "files" / "one").exists()
    files.remove(disk / "moved")
    assert not (reset() / "moved").exists()
    audit.append(folder / "audit.log", "begun")
    assert audit.verify(reset() / "files" / "audit.log") == 1


def test_what_up_put_on_a_node_outlives_it(disk: Path, reset: Reset) -> None:
    stamps = disk / "stamps.json"
    program = "import place; place.stamp('unit', 'fingerprint')"
    run("env", "-C", farmlet.engine.payload.__path__[0], f"FARMLET_STAMPS={stamps}", sys.executable, "-c", program)
    assert (reset() / "stamps.json").read_text() == stamps.read_text()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    mount = tmp_path / "small"
    mount.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=12M", "tmpfs", mount)
    yield mount
    run("umount", mount)


def test_a_disk_that_was_full_takes_decisions_again(small: Path) -> None:
    with found(small) as service:
        service.join("ada")
        lines = audit.verify(service.audit)
        with pytest.raises(OSError, match="No space left"), (small / "ballast").open("wb", buffering=0) as ballast:
            while True:
                ballast.write(b"x" * 4096)
        with pytest.raises(OSError, match="No space left"):
            while True:
                audit.append(service.audit, "login.failed", by="a stranger")
                lines += 1
        assert service.run("member", "suspend", "ada").returncode == 1
        (small / "ballast").unlink()
        service.do("member", "suspend", "ada")
        assert "member.suspended" in [line["event"] for line in audit.read(service.audit)]
        assert audit.verify(service.audit) >= lines + 1
