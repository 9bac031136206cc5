"""What lies on an element, counted."""

from __future__ import annotations

import json
import time
from inspect import signature
from pathlib import Path
from types import SimpleNamespace

import pytest

from farmlet.facility.load import loads
from farmlet.facility.rights import GroupRights, Table
from farmlet.parts.part import Context, Trust, find
from farmlet.parts.storage import element, usage
from farmlet.parts.storage.deploy import PART
from farmlet.runtime.checks import Failed

TEXT = """
farmlet: 1
facility: {name: lab, domain: farmlet.test}
nodes:
  head: {connect: fake, runs: [access, storage]}
  service: {connect: fake, runs: [identity, accounts]}
groups:
  lab: {login: true}
"""
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
    told = usage.check_usage(str(out), str(root))
    assert "142 B in 5 files" in told and "/users/ada 30 B" in told


@pytest.fixture
def counted(tmp_path: Path) -> Path:
    """A count of just now, of a disk that was half full then."""
    path = tmp_path / "usage.json"
    path.write_text(json.dumps({"at": time.time(), "size": 100, "free": 50, "bytes": 50, "files": 1, "paths": []}))
    return path


def look(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    """Let the disk be one of 100 bytes."""
    monkeypatch.setattr(usage.shutil, "disk_usage", lambda root: SimpleNamespace(total=100, free=free))


def test_the_check_fails_for_an_old_count(counted: Path) -> None:
    counted.write_text(json.dumps(json.loads(counted.read_text()) | {"at": time.time() - 3 * 86400}))
    with pytest.raises(Failed, match="counted 72 h ago"):
        usage.check_usage(str(counted), str(counted.parent))


def test_the_check_looks_at_the_disk_now(monkeypatch: pytest.MonkeyPatch, counted: Path) -> None:
    look(monkeypatch, free=70)
    assert "the disk is 30% full" in usage.check_usage(str(counted), str(counted.parent))
    look(monkeypatch, free=1)
    with pytest.raises(Failed, match="the disk is 99% full"):
        usage.check_usage(str(counted), str(counted.parent))


def test_without_a_count_or_a_disk_the_check_fails(tmp_path: Path, counted: Path) -> None:
    with pytest.raises(Failed, match="no count"):
        usage.check_usage(str(tmp_path / "none"), str(tmp_path))
    with pytest.raises(Failed, match="nothing is known of the disk"):
        usage.check_usage(str(counted), str(tmp_path / "none"))


def test_the_check_is_told_where_the_data_are() -> None:
    """As the agent calls it: by keywords."""
    facility = loads(TEXT, "facility.yaml", find())
    context = Context(facility, facility.nodes["head"], Trust("CA\n"), "0" * 64)
    args = next(check.args for check in PART.role("element").checks(context) if check.name == "storage.usage")
    assert signature(usage.check_usage).bind(**args).arguments["root"] == element.DATA
