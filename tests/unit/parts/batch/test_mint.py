"""Tokens of the pool: when they are made, and that nobody keeps one too long. HTCondor's tool is played by a script."""

from __future__ import annotations

import base64
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from farmlet.errors import FarmletError
from farmlet.parts.batch import checks, mint
from farmlet.runtime.checks import Failed

TOOL = """#!/bin/sh
echo "$@" >> {log}
[ -e {broken} ] && {{ echo "no key" >&2; exit 1; }}
echo head.body.$$
"""


@pytest.fixture
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    tool = tmp_path / "bin" / "condor_token_create"
    tool.parent.mkdir()
    tool.write_text(TOOL.format(log=tmp_path / "log", broken=tmp_path / "broken"))
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    (tmp_path / "POOL").write_bytes(b"key")
    for node in ("head", "worker"):
        (tmp_path / "outbox" / node).mkdir(parents=True)
    config = {
        "identity": "condor@af.test",
        "key": str(tmp_path / "POOL"),
        "lifetime": 3000,
        "outbox": str(tmp_path / "outbox"),
        "item": "pool-token",
        "nodes": {"head": ["READ", "ADVERTISE_SCHEDD"]},
    }
    (tmp_path / "config.json").write_text(json.dumps({"pool": config}))
    past = time.time() - 100
    for name in ("POOL", "config.json"):
        os.utime(tmp_path / name, (past, past))
    return {"config": config, "root": tmp_path, "source": tmp_path / "config.json"}


def test_made_once_for_who_needs_it(pool: dict[str, Any]) -> None:
    assert mint.ensure(pool["config"], pool["source"]) == ["head"]
    token = pool["root"] / "outbox" / "head" / "pool-token"
    assert token.read_text().startswith("head.body.")
    assert token.stat().st_mode & 0o777 == 0o640
    said = (pool["root"] / "log").read_text()
    assert said == "-key POOL -identity condor@af.test -lifetime 3000 -authz READ -authz ADVERTISE_SCHEDD\n"
    assert mint.ensure(pool["config"], pool["source"]) == []


@pytest.mark.parametrize("age, again", [(900, False), (1100, True)])
def test_renewed_after_a_third_of_its_life(pool: dict[str, Any], age: float, again: bool) -> None:
    mint.ensure(pool["config"], pool["source"])
    token = pool["root"] / "outbox" / "head" / "pool-token"
    old = time.time() - 5000
    for name in ("POOL", "config.json"):
        os.utime(pool["root"] / name, (old, old))
    os.utime(token, (time.time() - age,) * 2)
    assert bool(mint.ensure(pool["config"], pool["source"])) is again


@pytest.mark.parametrize("name", ["POOL", "config.json"])
def test_renewed_with_key_or_configuration(pool: dict[str, Any], name: str) -> None:
    mint.ensure(pool["config"], pool["source"])
    os.utime(pool["root"] / name, (time.time() + 1,) * 2)
    assert mint.ensure(pool["config"], pool["source"]) == ["head"]


def test_taken_back_from_a_node_that_needs_none(pool: dict[str, Any]) -> None:
    left = pool["root"] / "outbox" / "worker" / "pool-token"
    left.write_text("a.b.c")
    mint.ensure(pool["config"], pool["source"])
    assert not left.exists()


def test_failure_is_told_and_leaves_no_token(pool: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    (pool["root"] / "broken").touch()
    assert mint.main([str(pool["source"])]) == 1
    assert "no key" in capsys.readouterr().err
    assert not list((pool["root"] / "outbox").glob("*/*"))


def test_waits_for_the_key_but_not_for_ever(tmp_path: Path) -> None:
    with pytest.raises(FarmletError, match="no signing key"):
        mint.wait_key(tmp_path / "POOL", 0.3)


def test_check_of_a_token(tmp_path: Path) -> None:
    def write(name: str, days: float) -> str:
        claims = base64.urlsafe_b64encode(json.dumps({"sub": "condor@af.test", "exp": time.time() + days * 86400}).encode())
        (tmp_path / name).write_text(f"h.{claims.decode().rstrip('=')}.s")
        return str(tmp_path / name)

    assert "condor@af.test for 20" in checks.check_token(write("good", 20.01))
    for bad in (write("old", 1), str(tmp_path / "missing")):
        with pytest.raises(Failed):
            checks.check_token(bad)
    (tmp_path / "junk").write_text("not a token")
    with pytest.raises(Failed, match="no token"):
        checks.check_token(str(tmp_path / "junk"))
