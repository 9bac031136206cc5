"""Tokens that read: how they come together at the control node, and to those who may look at the pool."""

from __future__ import annotations

import base64
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from farmlet.errors import FarmletError
from farmlet.parts.batch import checks, readers
from farmlet.runtime import rows
from farmlet.runtime.checks import Failed

ME = os.getuid()


def make_token(key: str | None, days: float = 2) -> str:
    header = {"alg": "HS256"} | ({"kid": key} if key else {})
    parts = (json.dumps(part).encode() for part in (header, {"sub": "reader@af.test", "exp": time.time() + days * 86400}))
    return ".".join([*(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts), "c2ln"])


@pytest.fixture
def control(tmp_path: Path) -> dict[str, Any]:
    for box in ("inbox", "outbox"):
        for node in ("head", "second", "service"):
            (tmp_path / box / node).mkdir(parents=True)
    (tmp_path / "own").write_text(make_token("POOL") + "\n")
    folders = {"own": tmp_path / "own", "inbox": tmp_path / "inbox", "outbox": tmp_path / "outbox"}
    return {**folders, "item": "reader-tokens", "sources": ["head", "second"], "targets": ["head", "service"]}


def test_tokens_of_all_access_points_come_together(control: dict[str, Any]) -> None:
    (control["inbox"] / "head" / "reader-tokens").write_text(make_token("head"))
    left = control["outbox"] / "second" / "reader-tokens"
    left.write_text("of before")
    assert readers.share(**control) == ["second has left no token yet"]
    (control["inbox"] / "second" / "reader-tokens").write_text(make_token("second") + "\n")
    assert readers.share(**control) == []
    for node in control["targets"]:
        found = control["outbox"] / node / "reader-tokens"
        assert [readers.find_key(line) for line in found.read_text().splitlines()] == ["POOL", "head", "second"]
        assert found.stat().st_mode & 0o777 == 0o640
    assert not left.exists()
    made = found.stat().st_ino
    assert readers.share(**control) == [] and found.stat().st_ino == made, "it is written only when it changed"


def test_a_node_speaks_for_its_own_access_point_only(control: dict[str, Any]) -> None:
    (control["inbox"] / "head" / "reader-tokens").write_text(make_token("head"))
    for bad in (
        make_token("POOL").encode(),
        make_token("head").encode(),
        make_token(None).encode(),
        f"{make_token('second')}\n{make_token('head')}".encode(),
        b"",
        b"a.b.c",
        b"W10.b.c",
        base64.urlsafe_b64encode(b"[" * 3000) + b".b.c",
        b"\xff" * 5000,
    ):
        (control["inbox"] / "second" / "reader-tokens").write_bytes(bad)
        assert len(readers.share(**control)) == 1, bad
        assert (control["outbox"] / "head" / "reader-tokens").read_text().count("\n") == 2, bad


def test_each_member_has_a_copy_and_loses_it(tmp_path: Path) -> None:
    (tmp_path / "all").write_text("tokens\n")
    args = {"tokens": str(tmp_path / "all"), "folder": str(tmp_path / "readers"), "users": ["root"] if ME == 0 else []}
    uid = ME or 20_000
    members = [{"name": "ada", "uid": uid, "state": "active"}, {"name": "eve", "uid": uid, "state": "suspended"}]
    umask = os.umask(0o077)
    try:
        readers.apply(rows.dump(members), **args, members=True, first_uid=0)
    finally:
        os.umask(umask)
    copy = tmp_path / "readers" / "ada" / "tokens"
    state = copy.stat()
    assert copy.read_text() == "tokens\n" and (state.st_mode & 0o777, state.st_uid) == (0o600, uid)
    # nobody but root puts anything there, and everybody gets through
    assert copy.parent.stat().st_mode & 0o777 == 0o755 and copy.parent.parent.stat().st_mode & 0o777 == 0o711
    assert not (tmp_path / "readers" / "eve").exists()

    readers.apply(rows.dump(members), **args, members=True, first_uid=0)
    assert copy.stat().st_ino == state.st_ino
    (tmp_path / "all").write_text("others\n")
    readers.apply(rows.dump(members), **args, members=True, first_uid=0)
    assert copy.read_text() == "others\n"
    readers.apply(rows.dump([members[0] | {"state": "removed"}]), **args, members=True, first_uid=0)
    assert not copy.parent.exists()


def test_an_account_that_is_not_there_yet_is_told(tmp_path: Path) -> None:
    (tmp_path / "all").write_text("tokens\n")
    args: dict[str, Any] = {"tokens": str(tmp_path / "all"), "folder": str(tmp_path / "readers"), "first_uid": 1000}
    with pytest.raises(FarmletError, match="nobody-of-this-name"):
        readers.apply(b"[]", **args, users=["nobody-of-this-name"], members=False)
    readers.apply(b"[]", **args | {"tokens": str(tmp_path / "none")}, users=[], members=False)
    assert not (tmp_path / "readers").exists()


def test_the_check_names_the_queue_that_cannot_be_read(control: dict[str, Any]) -> None:
    (control["inbox"] / "head" / "reader-tokens").write_text(make_token("head"))
    readers.share(**control)
    asked = {"outbox": str(control["outbox"]), "item": "reader-tokens", "nodes": control["targets"]}
    assert "POOL, head ready for head, service" in checks.check_readers(**asked, keys=["POOL", "head"])
    with pytest.raises(Failed, match="no token of second"):
        checks.check_readers(**asked, keys=["POOL", "head", "second"])
    (control["inbox"] / "head" / "reader-tokens").write_text(make_token("head", days=0.1))
    readers.share(**control)
    with pytest.raises(Failed, match=r"head: reader@af.test for 0.1"):
        checks.check_readers(**asked, keys=["POOL", "head"])
