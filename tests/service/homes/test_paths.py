"""Limits of storage paths on real file systems, as the server's account meets them."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from farmlet.errors import FarmletError
from farmlet.parts.storage import limits
from farmlet.runtime.checks import Failed

pytestmark = pytest.mark.service
MIB = 1 << 20
SERVER = "daemon"  # an account that every machine has, in place of XRootD's
PEOPLE = [{"name": name, "groups": ["lab"], "state": "active"} for name in ("ada", "bob")]
ROWS = [
    {"path": "/users/{user}", "size": 20 * MIB, "groups": ["lab"]},
    {"path": "/users/bob", "size": 60 * MIB, "groups": []},
    {"path": "/data", "size": 30 * MIB, "groups": []},
]


class Element:
    """Folders of an element, and its server's account in them."""

    def __init__(self, root: Path, known: Path) -> None:
        self.root, self.known = root, known
        for above in (*reversed(root.parents[:2]), root):  # pytest's folders are closed to others
            above.chmod(0o755)
        limits.lend(root, SERVER)

    def apply(self, rows: list[dict[str, object]] = ROWS) -> None:
        limits.apply(json.dumps(PEOPLE).encode(), str(self.root), rows, str(self.known), SERVER)

    def check(self) -> str:
        return limits.check_limits(str(self.root), str(self.known))

    def act(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, user=SERVER, group=SERVER, extra_groups=[], cwd=self.root, capture_output=True, text=True, timeout=60
        )

    def fill(self, path: str, size: int) -> str:
        """Write `size` MiB; what was said when it did not go in."""
        done = self.act("dd", "if=/dev/urandom", f"of={path}", "bs=1M", f"count={size}", "conv=fsync")
        return done.stderr if done.returncode else ""


@pytest.fixture
def element(limited: Path, tmp_path: Path) -> Element:
    return Element(limited, tmp_path / "limits.json")


def is_full(said: str) -> bool:
    return "quota exceeded" in said or "No space left" in said  # XFS says the latter of projects


def test_each_path_keeps_to_its_size_and_others_are_not_hurt(element: Element) -> None:
    element.apply()
    assert element.check() == "3 paths are kept to their limits"
    assert is_full(element.fill("users/ada/big", 40))
    assert element.fill("users/bob/big", 40) == ""
    assert is_full(element.fill("data/big", 40))
    subprocess.run(["sync", "-f", element.root], check=True)
    assert "3 paths are kept to their limits: " in element.check() and "/users/ada" in element.check()
    assert element.act("rm", "users/ada/big").returncode == 0
    assert element.fill("users/ada/small", 5) == ""


def test_the_server_cannot_get_rid_of_a_limit(element: Element) -> None:
    element.apply()
    for command in (
        ("rmdir", "users/ada"),
        ("mv", "users/ada", "users/was"),
        ("mv", "users", "was"),
        ("chmod", "755", "users/ada"),
    ):
        assert element.act(*command).returncode, command
    assert element.act("mkdir", "users/ada/deep", "users/zoe", "other").returncode == 0
    assert element.act("rmdir", "users/ada/deep", "users/zoe", "other").returncode == 0


def test_a_limit_that_is_changed_or_taken_away_counts_and_nothing_is_lost(element: Element) -> None:
    element.apply()
    assert element.fill("data/one", 20) == ""
    element.apply([*ROWS[:2], ROWS[2] | {"size": 100 * MIB}])
    assert element.fill("data/two", 40) == ""
    element.apply(ROWS)  # now it is over its limit: all can be read and removed, nothing added
    assert is_full(element.fill("data/three", 1))
    assert element.act("wc", "-c", "data/one").stdout.startswith(f"{20 * MIB} ")
    element.apply([])
    assert element.fill("data/four", 20) == "" and element.fill("users/ada/much", 40) == ""


def test_on_btrfs_an_empty_plain_folder_is_replaced_and_one_with_files_is_told(element: Element) -> None:
    element.act("mkdir", "-p", "users/ada", "users/bob")
    element.act("touch", "users/bob/precious")
    with pytest.raises(FarmletError, match="/users/bob: is a plain folder with files in it"):
        element.apply()
    assert (element.root / "users/bob/precious").exists()
    assert is_full(element.fill("users/ada/big", 40)), "the others are kept all the same"
    with pytest.raises(Failed, match="/users/bob: is a plain folder"):
        element.check()
    (element.root / "users/bob").rename(element.root / "users/aside")
    element.apply()
    assert element.check().startswith("3 paths")


def test_who_left_keeps_the_limit_with_the_files(element: Element) -> None:
    element.apply()
    limits.apply(b"[]", str(element.root), ROWS, str(element.known), SERVER)
    assert is_full(element.fill("users/ada/big", 40))


def test_links_are_not_followed(element: Element) -> None:
    linked = element.root.parent / "linked"
    linked.mkdir(exist_ok=True)
    element.act("ln", "-s", "../linked", "data")
    with pytest.raises(FarmletError, match="/data: is a file system of its own, or a link"):
        element.apply()
    assert linked.owner() == "root" and linked.group() == "root"


def test_a_file_system_without_limits_is_told(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    element = Element(tmp_path / "root", tmp_path / "limits.json")
    with pytest.raises(FarmletError, match="/data: its file system knows no limits; btrfs does"):
        element.apply()
    assert element.fill("data/big", 40) == "", "and members can go on"


@pytest.mark.skipif("FARMLET_ROOMS" not in os.environ, reason="wants ext4 and XFS with project quotas: see test_kernel.py")
def test_elsewhere_a_folder_with_files_is_taken_as_it_is(element: Element) -> None:
    element.act("mkdir", "-p", "users/bob/deep")
    assert element.fill("users/bob/deep/old", 50) == ""
    element.apply()
    assert is_full(element.fill("users/bob/deep/new", 20))
    assert "/users/bob" in element.check()
