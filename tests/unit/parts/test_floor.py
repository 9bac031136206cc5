"""Nothing acts on a user id below `first_uid`, whatever a source of the membership says."""

from __future__ import annotations

import importlib
import inspect
import json
from pathlib import Path
from typing import Any

import pytest

from farmlet.facility.load import default_text, loads
from farmlet.facility.rights import GroupRights, Table
from farmlet.parts.accounts import slices
from farmlet.parts.accounts.deprovision import processes
from farmlet.parts.accounts.homes import keeping
from farmlet.parts.accounts.sink import state
from farmlet.parts.accounts.source.membership import Member
from farmlet.parts.batch import deprovisioning as batch
from farmlet.parts.identity.config import Section
from farmlet.parts.part import Context, Trust, find
from farmlet.parts.resources import File
from farmlet.parts.tokens import deprovisioning as tokens

FIRST = 25000
IDENTITY = Section()
GONE = {"state": "suspended", "login": True, "groups": [], "gid": FIRST, "left": 1}
ROWS = [
    {"name": "condor", "uid": 103, **GONE},
    {"name": "lodger", "uid": 1000, **GONE},
    {"name": "before", "uid": FIRST - 1, **GONE},
    {"name": "bob", "uid": FIRST, **GONE},
]


def told(**more: Any) -> bytes:
    return json.dumps([row | more for row in ROWS]).encode()


def list_calls() -> dict[str, dict[str, Any]]:
    """What the agents of the built-in facility apply to the item `accounts`: function → arguments."""
    parts = find()
    facility = loads(f"{default_text()}  first_uid: {FIRST}\n", "facility.yaml", parts)
    found = {}
    for node in facility.nodes.values():
        context = Context(facility, node, Trust("CA"), "")
        for part in parts.values():
            for role in part.roles:
                if f"{part.name}.{role.name}" in node.roles:
                    files = [one for one in role.configure(context) if isinstance(one, File) and "/agent.d/" in one.path]
                    calls = [json.loads(file.data).get("apply", {}).get("accounts") for file in files]
                    found |= {call["call"]: call.get("args", {}) for call in calls if call}
    return found


def test_each_function_that_acts_on_user_ids_is_told_where_they_begin() -> None:
    for target, args in list_calls().items():
        module, _, function = target.partition(":")
        parameters = inspect.signature(getattr(importlib.import_module(module), function)).parameters
        if "first_uid" in parameters:
            assert args["first_uid"] == FIRST, target
        else:
            assert target in {
                "farmlet.parts.accounts.homes:forget",
                "farmlet.parts.accounts.keeping:look",
                "farmlet.parts.batch.accounting:apply",
                "farmlet.parts.storage.limits:apply",
            }, f"{target} acts on members without knowing where their numbers begin"


def test_a_members_own_group_has_the_members_number() -> None:
    """Groups of the facility begin at a number of their own, which may be higher."""
    args = list_calls()["farmlet.parts.accounts.homes.homes:apply"]
    assert args["first_gid"] <= FIRST < IDENTITY.first_gid


def test_of_a_source_no_number_below_is_taken() -> None:
    members = [Member(str(uid), name, uid, FIRST, name, "active", {"lab": FIRST}) for name, uid in (("eve", 0), ("ada", 24999))]
    members.append(Member("bob", "bob", FIRST, FIRST, "bob", "active", {"lab": FIRST}))
    found = state.read(members, Table({"lab": GroupRights(login=True)}), FIRST)
    assert [account.name for account in found.accounts] == ["bob"]
    assert "member 'eve': has the number 0, which is no member's: theirs begin at 25000" in [str(fault) for fault in found.faults]
    assert len(found.faults) == 2 and found.faults[0].names == {"eve"}


def test_on_a_node_nothing_of_them_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[int] = []
    monkeypatch.setattr(processes, "kill_slice", killed.append)
    monkeypatch.setattr(processes, "kill", killed.extend)
    monkeypatch.setattr(processes, "find", lambda uids: [(1, uid) for uid in (0, 103, 1000, 24999, FIRST) if uid in uids])
    processes.close(told(), FIRST)
    assert killed == [FIRST]
    tab = tmp_path / "crontabs"
    tab.mkdir()
    for row in ROWS:
        (tab / str(row["name"])).touch()
    monkeypatch.setattr(processes, "find", lambda uids: [])
    processes.apply(told(), str(tmp_path), str(tmp_path / "linger"), first_uid=FIRST)
    assert {path.name for path in tab.iterdir()} == {"before", "condor", "lodger"}
    assert killed == [FIRST, FIRST]


def test_on_a_node_they_get_nothing(tmp_path: Path) -> None:
    slices.apply(told(state="active", sessions={"cores": 1}), str(tmp_path), reload=False, first_uid=FIRST)
    assert [path.name for path in tmp_path.iterdir()] == [f"user-{FIRST}.slice.d"]
    (tmp_path / "subuid").write_text("lodger:100000:65536\n")
    processes.grant(told(), FIRST, [str(tmp_path / "subuid")])
    assert (tmp_path / "subuid").read_text().splitlines() == ["lodger:100000:65536", f"bob:{FIRST << 16}:65536"]


def test_their_homes_credentials_and_jobs_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for row in ROWS:
        (tmp_path / "homes" / str(row["name"])).mkdir(parents=True)
        (tmp_path / "credentials" / str(row["name"])).mkdir(parents=True)
    with pytest.raises(Exception, match="no member's account"):
        keeping.apply(told(state="removed"), str(tmp_path / "homes"), "/nonexistent", 0, FIRST, str(tmp_path / "usage"))
    assert not (tmp_path / "homes" / ".archive").exists()
    tokens.apply(told(), str(tmp_path / "credentials"), ["/nonexistent"], FIRST)
    assert {path.name for path in (tmp_path / "credentials").iterdir()} == {"before", "condor", "lodger"}
    asked: list[str] = []

    def read(words: list[str]) -> bytes:
        asked.append(" ".join(words))
        rows = [{"Owner": name, "JobStatus": 2} for name in ("condor", "lodger", "before")]
        return json.dumps(rows).encode() if words[0] == "condor_q" else b""

    monkeypatch.setattr(batch, "_read", read)
    batch.apply(told(), first_uid=FIRST)
    assert [line.split()[0] for line in asked] == ["condor_q"]
    batch.revoke(told(), "farmlet.test", str(tmp_path / "revoked"), FIRST)
    assert '"bob@farmlet.test"' in (tmp_path / "revoked").read_text()
