"""What roles say of how their data is saved."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from farmlet.facility.load import default_text, loads
from farmlet.facility.names import check_host
from farmlet.parts.backup import Backup, keep_database
from farmlet.parts.part import Role, find

ROLES = [pytest.param(role, id=f"{part.name}.{role.name}") for part in find().values() for role in part.roles]


@pytest.mark.parametrize("role", ROLES)
def test_every_role_with_data_says_how_it_is_saved_or_why_not(role: Role) -> None:
    kept = (*role.data, *role.shares)
    assert bool(kept) is bool(role.backup)
    if isinstance(role.backup, Backup):
        assert role.backup.copy or role.backup.dump
        assert any(copy.startswith(path) for copy in role.backup.copy for path in kept)
        assert bool(role.backup.dump) is bool(role.backup.restore), "what is dumped is brought back"
        assert bool(role.backup.quiesce) is bool(role.backup.resume)
    elif role.backup:
        assert len(role.backup.split()) > 3


@pytest.mark.skipif(os.geteuid() != 0, reason="it is root that saves")
def test_a_database_in_use_is_saved_whole_and_brought_back(tmp_path: Path) -> None:
    folder, dump = tmp_path / "it's here", tmp_path / "dump"
    folder.mkdir()
    dump.mkdir()
    path = folder / "db.sqlite3"
    backup = keep_database(str(path), str(folder))

    def run(command: str) -> None:
        subprocess.run(["sh", "-ec", command], check=True, env=os.environ | {"FARMLET_DUMP": str(dump)})

    run(backup.dump)
    run(backup.restore)
    assert not list(dump.iterdir()) and not list(folder.iterdir()), "there was none yet"
    with sqlite3.connect(path) as connection:
        connection.execute("pragma journal_mode=wal")
        connection.execute("create table t (x)")
        connection.execute("insert into t values (1)")
        connection.commit()
        writer = sqlite3.connect(path)
        writer.execute("insert into t values (2)")  # not committed: not in it
        before = {one.name for one in folder.iterdir()}
        run(backup.dump)
        assert [one.stat().st_mode & 0o77 for one in dump.iterdir()] == [0]
        assert {one.name for one in folder.iterdir()} == before == {"db.sqlite3", "db.sqlite3-wal", "db.sqlite3-shm"}
        writer.commit()
        writer.close()
    connection.close()
    assert all(any(fnmatchcase(str(folder / one), pattern) for pattern in backup.omit) for one in before)
    os.chown(folder, 1234, 1234)
    run(backup.restore)
    assert sqlite3.connect(path).execute("select x from t").fetchall() == [(1,)]
    assert (path.stat().st_uid, path.stat().st_mode & 0o777) == (1234, 0o600)
    run(backup.restore)


def test_the_images_that_roles_run() -> None:
    facility = loads(default_text(), "the built-in sandbox", find())
    found = {role.values[0].name: tuple(role.values[0].images(facility)) for role in ROLES}
    assert found["controller"] == ("analysis",)
    assert all(check_host(name) is None for names in found.values() for name in names)
