"""What lies on an element, counted."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from farmlet.facility.rights import GroupRights, Table
from farmlet.parts.storage import usage
from farmlet.runtime.checks import Failed

TABLE = Table(
    {
        "lab": GroupRights(read=("/",), write=("/users/{user}",)),
        "lab/production": GroupRights(write=("/data", "/data/raw/")),
        "guests": GroupRights(read=("/",)),
    }
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for path, size in (("users/ada/a", 10), ("users/ada/.deep/b", 20), ("users/bob/c", 5), ("data/raw/d", 100), ("data/e", 7)):
        file = tmp_path / "root" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(bytes(size))
    return tmp_path / "root"


def test_paths_and_groups_are_told_apart_and_nothing_counts_twice(root: Path) -> None:
    (root / "users" / "bob" / "usr").symlink_to("/usr")
    (root / "users" / "bob" / "link").symlink_to(root / "data" / "e")
    found = usage.count(root, usage.list_paths(TABLE))
    amounts = {row["path"]: (row["bytes"], row["files"], row["groups"]) for row in found["paths"]}
    assert amounts == {
        "/users/ada": (30, 2, ["lab"]),
        "/users/bob": (5, 1, ["lab"]),
        "/data": (107, 2, ["lab/production"]),
        "/data/raw": (100, 1, ["lab/production"]),
    }
    assert found["groups"] == [
        {"group": "lab", "bytes": 35, "files": 3},
        {"group": "lab/production", "bytes": 107, "files": 2},
    ]
    assert (found["bytes"], found["files"]) == (142, 5)


def test_the_program_writes_what_everybody_may_read_and_the_check_tells_it(root: Path, tmp_path: Path) -> None:
    table, out = tmp_path / "table.json", tmp_path / "usage.json"
    table.write_text(json.dumps(usage.list_paths(TABLE)))
    assert usage.main(["--root", str(root), "--table", str(table), "--out", str(out)]) == 0
    assert out.stat().st_mode & 0o777 == 0o644
    told = usage.check_usage(str(out))
    assert "142 B in 5 files" in told and "/users/ada 30 B" in told


@pytest.mark.parametrize("change", [{"at": time.time() - 3 * 86400}, {"size": 100, "free": 1}])
def test_the_check_fails_for_an_old_count_and_a_full_disk(tmp_path: Path, change: dict[str, float]) -> None:
    path = tmp_path / "usage.json"
    path.write_text(json.dumps({"at": time.time(), "size": 100, "free": 50, "bytes": 50, "files": 1, "paths": []} | change))
    with pytest.raises(Failed, match=r"ago|99%"):
        usage.check_usage(str(path))


def test_without_a_count_the_check_fails(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="no count"):
        usage.check_usage(str(tmp_path / "none"))
