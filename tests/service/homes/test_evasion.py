"""Members who want to get round their limits, with all that a kernel lets them do without a privilege."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from farmlet.parts.accounts.checks import check_homes
from farmlet.parts.accounts.homes import homes, keeping
from farmlet.runtime.checks import Failed
from farmlet.runtime.disk import btrfs as subvolumes
from farmlet.runtime.disk.filesystem import open_quotas

pytestmark = pytest.mark.service
MIB = 1 << 20
ABOUT = 22  # MiB, where 20 may be written: btrfs counts a moment later
ADA, BOB = 20001, 20002
OWNERS = os.environ.get("FARMLET_OWNERS")  # of the mount points in FARMLET_ROOMS: they have user quotas too
users = pytest.mark.skipif(not OWNERS, reason="wants ext4 and XFS with user quotas: see test_kernel.py")
projects = pytest.mark.skipif(
    bool(OWNERS) or "FARMLET_ROOMS" not in os.environ, reason="wants ext4 and XFS with project quotas alone: see test_kernel.py"
)
# what they can say to the kernel: `subvolume` by linux/btrfs.h, `charge` by linux/fs.h. `fill` prints the MiB that it wrote
TRICKS = """
import ctypes, fcntl, os, struct
def subvolume(name, groups=None, source=None):
    inherit = struct.pack(f"=4Q5Q{len(groups or [])}Q", 0, len(groups or []), 0, 0, *[0] * 5, *groups or [])
    there = ctypes.create_string_buffer(inherit, len(inherit))
    of = os.open(source, os.O_RDONLY) if source else 0
    said = (0, 0, 0) if groups is None else (4, len(inherit), ctypes.addressof(there))
    wanted = struct.pack("=qQQQQ16x4040s", of, 0, *said, name.encode())
    fcntl.ioctl(os.open(".", os.O_RDONLY), 0x50009417 if source else 0x50009418, bytearray(wanted))
def charge(path, project, inherit=0):
    file = os.open(path, os.O_RDONLY)
    flags, *rest = struct.unpack("=5I8x", fcntl.ioctl(file, 0x801C581F, bytes(28)))
    fcntl.ioctl(file, 0x401C5820, struct.pack("=5I8x", flags & ~0x200 | inherit, rest[0], rest[1], project, rest[3]))
def fill(path, size, *each):
    done = 0
    try:
        with open(path, "ab", buffering=0) as stream:
            for _ in range(size):
                stream.write(os.urandom(1 << 20))
                os.fsync(stream.fileno())
                done += 1
                for project in each:
                    charge(path, project)
    except OSError as error:
        assert error.errno in (122, 28), error
    print(done)
"""


def row(name: str, uid: int, **space: int) -> dict[str, Any]:
    return {"name": name, "uid": uid, "gid": uid, "state": "active", "login": True, "space": space, "left": 0}


class Facility:
    """Homes and scratch, each with 20 MiB for ada and bob, and the agent that keeps them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home, self.scratch = folder, folder / "home", folder / "scratch"
        self.work()

    def work(self, home: int = 20) -> None:
        """All that the agent does each few seconds, and when something changes."""
        rows = [row("ada", ADA, home=home * MIB, scratch=20 * MIB), row("bob", BOB, home=20 * MIB, scratch=20 * MIB)]
        data, places = json.dumps(rows).encode(), (str(self.home), str(self.scratch))
        homes.apply(data, *places, "head", first_uid=20000, flush=False)
        keeping._due.clear()
        keeping.apply(data, *places, 90, 20000, str(self.folder / "usage"))

    def act(self, name: str, tricks: str, place: str = "home") -> int:
        """The MiB that a member wrote at last."""
        uid, folder = {"ada": ADA, "bob": BOB}[name], self.folder / place / name
        words = ["/usr/bin/python3", "-c", TRICKS + tricks]
        done = subprocess.run(
            words, cwd=folder, user=uid, group=uid, extra_groups=[], capture_output=True, text=True, timeout=100
        )
        assert done.returncode == 0, done.stderr
        return int((done.stdout.split() or ["0"])[-1])

    def count(self, name: str) -> float:
        """The MiB that count for a home."""
        os.sync()
        usage = open_quotas(self.home).usage(self.home / name)
        assert usage is not None and usage.limit is not None
        return usage.used / MIB


@pytest.fixture
def full(btrfs: Path) -> Iterator[None]:
    """For one test the quotas of the btrfs are the full ones, which is all that kernels before 6.7 have."""
    subprocess.run(["btrfs", "quota", "disable", btrfs], check=True)
    subprocess.run(["btrfs", "quota", "enable", btrfs], check=True)
    subvolumes._seen.clear()
    yield
    subprocess.run(["btrfs", "quota", "disable", btrfs], check=True)
    subvolumes._seen.clear()


@pytest.fixture
def there(btrfs: Path, tmp_path: Path) -> Facility:
    folder = btrfs / tmp_path.name
    folder.mkdir()
    return Facility(folder)


def test_on_btrfs_subvolumes_count_for_the_home_they_are_in(there: Facility) -> None:
    assert there.act("ada", "subvolume('inner'); os.chdir('inner'); subvolume('deep'); fill('deep/data', 40)") <= ABOUT
    assert there.count("ada") <= ABOUT and there.count("bob") < 1
    assert there.act("ada", "os.unlink('inner/deep/data')") == 0
    os.sync()
    assert there.act("ada", "fill('inner/data', 5)") == 5


@pytest.mark.parametrize("source", [None, "."])
@pytest.mark.parametrize("whose", ["nobody", "bob"])
def test_on_btrfs_groups_that_a_member_names_count_until_the_agent_looks(there: Facility, whose: str, source: str | None) -> None:
    groups = [] if whose == "nobody" else [(1 << 48) + subvolumes._look(there.home / whose)[1]]
    made = f"subvolume('free', {groups}, {source!r}); os.chdir('free'); subvolume('more', {groups})"
    assert there.act("ada", f"{made}; fill('more/data', 15)") == 15
    there.work()
    assert there.count("bob") < 1 and 15 <= there.count("ada") <= ABOUT
    assert there.act("ada", "fill('free/more/again', 20)") <= ABOUT - 15
    assert there.act("bob", "fill('data', 15)") == 15


def test_on_btrfs_a_copy_of_the_home_counts_for_it(there: Facility) -> None:
    assert there.act("ada", "fill('data', 5); subvolume('copy', source='.'); fill('copy/more', 40)") <= ABOUT - 5


@pytest.mark.usefixtures("full")
def test_on_btrfs_with_full_quotas_all_counts_once_the_agent_looked(there: Facility) -> None:
    assert there.act("ada", "fill('data', 5); subvolume('inner'); subvolume('copy', source='.'); fill('inner/data', 18)") == 18
    there.work()
    assert there.act("ada", "fill('copy/more', 4)") == 0 and there.act("ada", "fill('more', 4)") == 0
    assert there.act("bob", "fill('data', 15)") == 15


@projects
def test_projects_alone_are_told_where_members_log_in(limited: Path) -> None:
    there = Facility(limited)
    with pytest.raises(Failed, match="mount it with usrquota too"):
        check_homes(str(there.home), "home", usage=str(limited / "usage"))
    assert "2 of 2 members have limits" in check_homes(str(there.home), "home", usage=str(limited / "usage"), logins=False)


@pytest.fixture
def owned(limited: Path) -> Iterator[Facility]:
    yield Facility(limited)
    shutil.rmtree(limited)  # user quotas count what lies anywhere


@users
def test_files_that_a_member_gives_to_no_project_count(owned: Facility) -> None:
    assert owned.act("ada", "os.mkdir('free'); charge('free', 0); fill('free/data', 15)") == 15
    # 40: home and scratch are on one file system
    assert 15 <= owned.act("ada", "fill('data', 60, 0)") <= 25
    assert owned.act("ada", "fill('data', 10)", "scratch") < 10
    assert "user quotas" in check_homes(str(owned.home), "home", usage=str(owned.folder / "usage"))


@users
def test_files_that_a_member_gives_to_another_members_project_stop_only_that_member(owned: Facility) -> None:
    bobs = (owned.home / "bob").stat().st_ino
    assert owned.act("ada", f"fill('data', 30, {bobs})") == 30
    assert owned.act("bob", "fill('data', 15)") == 15


@users
def test_the_project_that_a_member_gives_to_their_home_moves_no_limit_of_another(owned: Facility) -> None:
    owned.act("ada", f"charge('.', {(owned.home / 'bob').stat().st_ino}, 0x200)")
    owned.work(home=200)
    quotas = open_quotas(owned.home)
    ada, bob = (quotas.usage(owned.home / name) for name in ("ada", "bob"))
    assert ada is not None and ada.limit == 200 * MIB
    assert bob is not None and bob.limit == 20 * MIB
    assert owned.act("bob", "fill('data', 60)") <= 40
