"""`farmlet explain` over a running facility whose identity service is asked for one member."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from farmlet.engine.store import Store
from farmlet.parts.members import Members

GROUPS = """\
  tiny/data: {storage: {write: [/data]}, batch: {share: 2}, sessions: {memory: 3G}}
"""


@pytest.fixture
def ada(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    file = folder / "facility.yaml"
    file.write_text(file.read_text() + GROUPS)
    member = {"name": "ada", "state": "active", "groups": ["tiny"], "kind": "person"}
    monkeypatch.setattr(Store, "exists", lambda self: True)
    monkeypatch.setattr(Members, "change", lambda self, verb, name: member)
    return member


def test_everything(farmlet: Any, ada: dict[str, Any]) -> None:
    result = farmlet("explain", "ada")
    assert result.code == 0 and "ada: active, may log in" in result.out and "group tiny (line 7 " in result.out
    assert json.loads(farmlet("explain", "ada", "--json").out)["lines"] == {"tiny": 7}


def test_one_right(farmlet: Any, ada: dict[str, Any]) -> None:
    result = farmlet("explain", "ada", "--why-not", "login")
    assert (result.code, result.err) == (0, "") and "yes: ada, login\n  group tiny (line 7 " in result.out
    result = farmlet("explain", "ada", "--why-not", "storage.modify:/data/x")
    assert (result.code, result.err) == (1, "") and "group tiny/data (line 8 of the facility file) would give it" in result.out
    found = json.loads(farmlet("explain", "ada", "--why-not", "storage:write:/data", "--json").out)
    assert found["allowed"] is False and found["remedies"] == [{"group": "tiny/data", "line": 8}]
    assert "no group of the facility file" in farmlet("explain", "ada", "--why-not", "administer").out


def test_a_suspended_member(farmlet: Any, ada: dict[str, Any]) -> None:
    ada["state"] = "suspended"
    result = farmlet("explain", "ada", "--why-not", "login")
    assert result.code == 1 and "the membership is suspended" in result.out


def test_a_service_member_never_logs_in(farmlet: Any, ada: dict[str, Any]) -> None:
    ada |= {"kind": "service", "owner": "tiny", "expires": "2030-12-31T23:59:59+00:00"}
    told = farmlet("explain", "ada").out
    assert "ada: active, may not log in" in told and "owned by tiny, until 2030-12-31" in told
    assert json.loads(farmlet("explain", "ada", "--json").out)["login"] is False
    result = farmlet("explain", "ada", "--why-not", "login")
    assert result.code == 1 and "would give it" not in result.out
    ada["groups"] = ["tiny/data"]
    assert farmlet("explain", "ada", "--why-not", "storage:write:/data").code == 0


def test_an_unknown_right(farmlet: Any) -> None:
    result = farmlet("explain", "ada", "--why-not", "fly")
    assert result.code == 2 and result.out == ""
    assert "'fly': is not known" in result.err and "storage:write:/PATH" in result.err


def test_each_right_is_told_in_words(farmlet: Any, ada: dict[str, Any]) -> None:
    ada["groups"] = ["tiny/data"]
    lines = farmlet("explain", "ada").out.splitlines()
    assert "  may run jobs, with a share of 2" in lines and "  may keep any amount in their home" in lines
    assert "  may write /data" in lines and "  may use 3G of a node's memory in sessions" in lines
    assert not [line for line in lines if "notebook" in line]


@pytest.mark.parametrize(
    "words", [("job",), ("ada", "12.0"), ("job", "12"), ("job", "12.0", "--why-not", "login"), ("job", "1.0;x")]
)
def test_what_is_no_job_is_said(farmlet: Any, ada: dict[str, Any], words: tuple[str, ...]) -> None:
    result = farmlet("explain", *words)
    assert result.code == 2 and ("farmlet explain job 12.0" in result.err or "farmlet explain job ID" in result.err)
