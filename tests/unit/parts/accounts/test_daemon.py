"""One pass of the accounts daemon, with a directory in memory and a source that answers as it is told."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from farmlet.errors import FarmletError
from farmlet.facility.places import MEMBERSHIP
from farmlet.facility.rights import GroupRights, Table
from farmlet.parts.accounts import checks
from farmlet.parts.accounts import daemon as daemon_module
from farmlet.parts.accounts.daemon import Daemon, load, main
from farmlet.parts.accounts.deprovision import missing
from farmlet.parts.accounts.deprovision.missing import Guard
from farmlet.parts.accounts.deprovision.tombstones import Tombstones
from farmlet.parts.accounts.sink import state
from farmlet.parts.accounts.sink.memory import Memory
from farmlet.parts.accounts.sink.nodes import Nodes
from farmlet.parts.accounts.sink.sink import AccountSink, Held, Outcome
from farmlet.parts.accounts.source.ledger import Ledger
from farmlet.parts.accounts.source.membership import Member, Membership, Unread
from farmlet.parts.accounts.source.record import Record
from farmlet.runtime import audit
from farmlet.runtime.checks import Failed
from farmlet.runtime.seen import Bearer, Seen

ISSUER = "https://iam.example.org/"
GRACE = Member("sub-1", "grace", 20000, 20000, "Grace Example", "active", {"lab": 30000}, "Grace@example.org", "g@example.org")
ALAN = Member("sub-2", "alan", 20001, 20001, "Alan Example", "active", {"lab": 30000})


class Source:
    def __init__(self, *members: Member) -> None:
        self.answer: Sequence[Member] | FarmletError = members
        self.unread: Sequence[Unread] = ()
        self.ended: frozenset[str] | None = None
        self.alone: dict[str, bool | FarmletError] = {}  # what it says of one who is asked for alone

    def read(self) -> Membership:
        if isinstance(self.answer, FarmletError):
            raise self.answer
        return Membership(tuple(self.answer), tuple(self.unread), self.ended)

    def has(self, sub: str) -> bool:
        said = self.alone.get(sub, False)
        if isinstance(said, FarmletError):
            raise said
        return said

    def wait(self, known: int) -> int:
        return known + 1


class Broken:
    """A sink that can do nothing."""

    name = "broken"

    def plan(self, accounts: Sequence[state.Account], held: AbstractSet[str] = frozenset()) -> Outcome:
        raise FarmletError("ldap", "cannot be reached")

    def look(self) -> Held:
        raise FarmletError("ldap", "cannot be reached")

    sync = plan


def make(folder: Path, source: Source, *first: AccountSink) -> Daemon:
    table = Table({"lab": GroupRights(login=True)})
    nodes = Nodes(folder, state.Layout("dc=af,dc=test", "/home", "/bin/bash"))
    tombstones, record = Tombstones(folder / "tombstones.json"), Record(folder, ISSUER)
    faults, seen = folder / "faults.json", folder / "seen.json"
    return Daemon(source, (*(first or (Memory(),)), nodes), table, tombstones, Guard(folder), faults, record, seen=seen)


def there(daemon: Daemon) -> dict[str, state.Account]:
    memory = daemon.sinks[0]
    assert isinstance(memory, Memory)
    return dict(memory.accounts)


def read(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "accounts").read_text())
    return found


def test_an_issuer_that_does_not_answer_changes_nothing(tmp_path: Path) -> None:
    source = Source(GRACE, ALAN)
    daemon = make(tmp_path, source)
    assert daemon.sync()
    before, entries = (tmp_path / "accounts").read_bytes(), there(daemon)
    mark = tmp_path / MEMBERSHIP
    assert abs(float(mark.read_text()) - time.time()) < 600
    os.utime(mark, (1, 1))  # the next one is due
    source.answer = FarmletError(ISSUER, "answers 502")
    with pytest.raises(FarmletError, match="502"):
        daemon.sync()
    assert (tmp_path / "accounts").read_bytes() == before
    assert there(daemon) == entries
    assert json.loads((tmp_path / "members.json").read_text())["members"][1]["name"] == "grace"
    assert mark.stat().st_mtime == 1, "nobody is told that the membership was read"


def test_who_left_the_issuer_leaves_the_directory_and_the_nodes_are_told(tmp_path: Path) -> None:
    source = Source(GRACE, ALAN)
    daemon = make(tmp_path, source)
    daemon.sync()
    source.answer = (GRACE, replace(ALAN, state="removed", groups={}))
    assert daemon.sync() == [] and daemon.again, "what cannot be made again waits for a second reading"
    assert daemon.sync() == [
        "memory: member alan: active lab → none",
        "nodes: member alan: groups lab → none; state active → removed; login True → False",
    ]
    assert set(there(daemon)) == {"grace"}
    assert {row["name"]: row["state"] for row in read(tmp_path)} == {"alan": "removed", "grace": "active"}


def test_what_changed_is_in_the_log_once(tmp_path: Path) -> None:
    source = Source(GRACE)
    daemon = make(tmp_path, source)
    daemon.sync()
    source.answer = (replace(GRACE, state="suspended", groups={}),)
    daemon.sync()
    daemon.sync()
    log = tmp_path / "audit.log"
    assert audit.verify(log) == 3
    lines = list(audit.read(log))
    assert [line["event"] for line in lines] == ["member.added", "member.suspended", "member.groups"]
    # a name that is not the issuer's own is told with it
    assert (lines[0]["member"], lines[0]["username"], lines[0]["by"]) == ("grace", "Grace@example.org", ISSUER)
    assert (tmp_path / "members.json").stat().st_mode & 0o777 == 0o600


def configure(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration for an INDIGO IAM; returns where its client's secret belongs."""
    # python-ldap need not be here
    for module, name in (("directory", "Directory"), ("connection", "Server")):
        stand_in = SimpleNamespace(**{name: lambda *_: Memory()})
        monkeypatch.setitem(sys.modules, f"farmlet.parts.accounts.sink.{module}", stand_in)  # type: ignore[arg-type]
    place = folder / "issuer-client.secret"
    source = {
        "issuer": ISSUER,
        "client": "reader",
        "folder": str(folder),
        "secret": str(place),
        "prefix": "",
        "poll": 60,
        "told": str(folder),
    }
    rights = {"groups": [{"path": "lab", "login": True}]}
    config = {"source": source | {"first_gid": 30000}, "first_uid": 20000, "rights": rights}
    layout = {
        "base": "dc=af",
        "homes": "/home",
        "shell": "/bin/sh",
        "outbox": str(folder),
        "tombstones": str(folder / "tombstones.json"),
        "faults": str(folder / "faults.json"),
        "seen": str(folder / "seen.json"),
    }
    (folder / "config").write_text(json.dumps(config | layout))
    return place


def test_a_dry_run_gives_nobody_a_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(tmp_path, monkeypatch)
    ledger = Ledger(tmp_path / "ledger.sqlite3", 20000, 30000)
    ledger.ensure_member("sub-1", "alan", ["lab"])
    users = [
        {"id": f"sub-{number}", "userName": name, "active": True, "name": {}, "groups": [{"display": "lab"}]}
        for number, name in enumerate(("alan", "grace"), 1)
    ]
    monkeypatch.setattr(daemon_module, "Reader", lambda *_: SimpleNamespace(issuer=ISSUER, users=lambda *_: users))
    before = {path.name for path in tmp_path.iterdir()}
    assert main(["--config", str(tmp_path / "config"), "--dry-run"]) == 0
    assert "nodes: member grace: told, active" in capsys.readouterr().out.splitlines()
    assert ledger.members().keys() == {"sub-1"} and {path.name for path in tmp_path.iterdir()} == before


def test_without_its_secret_the_daemon_starts_and_says_where_to_put_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = configure(tmp_path, monkeypatch)
    daemon = load(tmp_path / "config")
    with pytest.raises(FarmletError, match="secret of the client reader"):
        daemon.sync()
    place.write_text("\n")
    with pytest.raises(FarmletError, match=str(place)) as caught:
        daemon.sync()
    assert "reader" in caught.value.hint
    own = {"source": {"issuer": "https://service.af.test", "client": "accounts"}}
    (tmp_path / "config").write_text(json.dumps(json.loads((tmp_path / "config").read_text()) | own))
    with pytest.raises(FarmletError, match="secret is missing"):
        load(tmp_path / "config")


def test_while_the_directory_is_away_ends_are_told_and_beginnings_wait(tmp_path: Path) -> None:
    source = Source(GRACE, ALAN)
    make(tmp_path, source).sync()
    source.answer = (replace(GRACE, state="suspended", groups={}), replace(ALAN, groups={}), replace(ALAN, name="new", uid=20002))
    daemon = make(tmp_path, source, Broken())
    with pytest.raises(FarmletError, match="cannot be reached"):
        daemon.sync()
    rows = {row["name"]: (row["state"], row["groups"]) for row in read(tmp_path)}
    assert rows == {"alan": ("active", ["lab"]), "grace": ("suspended", [])}
    with pytest.raises(Failed, match="cannot be reached"):
        checks.check_faults(str(tmp_path / "faults.json"))
    make(tmp_path, source).sync()
    assert {row["name"]: row["groups"] for row in read(tmp_path)} == {"alan": [], "grace": [], "new": ["lab"]}
    assert checks.check_faults(str(tmp_path / "faults.json"))
    os.utime(tmp_path / "faults.json", (0, 0))
    with pytest.raises(Failed, match="has not finished a pass"):
        checks.check_faults(str(tmp_path / "faults.json"))
    make(tmp_path, source).sync()
    assert checks.check_faults(str(tmp_path / "faults.json")), "a pass is told though nothing is wrong, as before"


def test_one_member_who_cannot_have_an_account_keeps_nobody_else_from_theirs(tmp_path: Path) -> None:
    clash, system = replace(GRACE, sub="sub-9", name="other"), replace(ALAN, sub="sub-8", name="postgres", uid=20009)
    bad = replace(ALAN, sub="sub-7", name="../../root", uid=20008)
    daemon = make(tmp_path, Source(clash, bad, system, GRACE, ALAN))
    daemon.sync()
    assert set(there(daemon)) == {"grace", "alan"} == {row["name"] for row in read(tmp_path)}
    faults = json.loads((tmp_path / "faults.json").read_text())
    assert len(faults) == 3 and any("number 20000 of grace" in fault for fault in faults)


def test_no_name_and_no_number_goes_to_anybody_else_whatever_the_source_says(tmp_path: Path) -> None:
    """As after a database was restored from before GRACE and ALAN joined."""
    source = Source(GRACE, ALAN)
    make(tmp_path, source).sync()
    source.answer = (replace(GRACE, name="other", sub="a"), replace(ALAN, sub="b"), replace(ALAN, name="new", sub="c", uid=20002))
    daemon = make(tmp_path, source)
    daemon.sync()
    rows = {row["name"]: (row["sub"], row["uid"]) for row in read(tmp_path) if row["state"] == "active"}
    assert rows == {"grace": ("sub-1", 20000), "alan": ("sub-2", 20001), "new": ("c", 20002)}
    faults = json.loads((tmp_path / "faults.json").read_text())
    assert [any(words in fault for fault in faults) for words in ("number 20000 of grace", "whose number is or was 20001")]
    source.answer = (GRACE, replace(GRACE, name="other", sub="a"))  # of two, who was first
    for _ in range(2):
        daemon.sync()
    assert {row["name"]: row["sub"] for row in read(tmp_path) if row["state"] == "active"} == {"grace": "sub-1"}


def test_who_is_missing_in_a_list_and_there_when_asked_for_alone_stays(tmp_path: Path) -> None:
    source = Source(GRACE, ALAN)
    daemon = make(tmp_path, source)
    daemon.sync()
    source.answer = (GRACE, replace(ALAN, state="removed", groups={}))
    for said in (True, FarmletError(ISSUER, "answers 502"), True):
        source.alone = {"sub-2": said}
        for _ in range(2):
            assert daemon.sync() == [] and daemon.again
    source.alone = {}
    assert daemon.sync() == []
    source.answer = (GRACE, ALAN)
    assert daemon.sync() == [] and not daemon.again
    source.answer = (GRACE,)
    assert daemon.sync() == [], "that was another time"


def many(*numbers: int) -> list[Member]:
    return [replace(GRACE, sub=f"s{number}", name=f"user{number}", uid=21000 + number, gid=21000 + number) for number in numbers]


def test_many_who_are_missing_at_once_stay_until_somebody_decides(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = Source(*many(*range(10)))
    make(tmp_path, source).sync()
    source.answer = [*many(*range(5)), *(replace(one, state="removed", groups={}) for one in many(*range(5, 10)))]
    before, daemon = (tmp_path / "accounts").read_bytes(), make(tmp_path, source)
    assert not [line for line in daemon.plan() if "removed" in line and "fault" not in line]
    daemon.sync()
    assert (tmp_path / "accounts").read_bytes() == before and daemon.again
    with pytest.raises(Failed, match=r"5 missing at once.*user5, user6, user7, user8, user9.*farmlet user release"):
        checks.check_faults(str(tmp_path / "faults.json"))
    lines = [line["event"] for line in audit.read(tmp_path / "audit.log")]
    assert "member.removed" not in lines and len(json.loads((tmp_path / "members.json").read_text())["members"]) == 10
    assert missing.main(["--folder", str(tmp_path), "user1"]) == 2 and "user1: is not missing" in capsys.readouterr().err
    assert missing.main(["--folder", str(tmp_path), "user7", "user9"]) == 0
    daemon.sync()
    assert {row["name"] for row in read(tmp_path) if row["state"] == "removed"} == {"user7", "user9"}
    source.answer = many(*range(6))  # one is back, and nobody was asked about user4
    daemon.sync()
    source.answer = many(*range(4), 5)
    for _ in range(2):
        daemon.sync()
    assert {row["name"] for row in read(tmp_path) if row["state"] == "removed"} == {"user4", "user7", "user9"}
    assert missing.load(tmp_path / "missing.json") == {"user6", "user8"}
    source.answer = many(*range(10))
    daemon.sync()
    assert not daemon.again and checks.check_faults(str(tmp_path / "faults.json"))
    assert not (tmp_path / "missing.json").exists()


def test_where_ends_are_told_nobody_is_missing_without_a_question(tmp_path: Path) -> None:
    """A database of our own that was restored from before the last member, while another one was removed."""
    source = Source(GRACE, ALAN, *many(1))
    make(tmp_path, source).sync()
    source.answer, source.ended = many(1), frozenset({"sub-2"})
    daemon = make(tmp_path, source)
    daemon.sync()
    assert {row["name"]: row["state"] for row in read(tmp_path)} == {"alan": "removed", "grace": "active", "user1": "active"}
    assert missing.main(["--folder", str(tmp_path), "--all"]) == 0
    daemon.sync()
    assert {row["name"]: row["state"] for row in read(tmp_path)} == {"alan": "removed", "grace": "removed", "user1": "active"}
    daemon.sync()
    assert not (tmp_path / "released.json").exists(), "the answer was for this once"


def test_an_empty_source_removes_nobody(tmp_path: Path) -> None:
    source = Source(GRACE)
    make(tmp_path, source).sync()
    source.answer = ()
    make(tmp_path, source).sync()
    assert [(row["name"], row["state"]) for row in read(tmp_path)] == [("grace", "active")]


def test_what_the_sinks_hold_counts_when_the_daemons_memory_is_lost(tmp_path: Path) -> None:
    source = Source(GRACE, ALAN)
    daemon = make(tmp_path, source)
    daemon.sync()
    memory = daemon.sinks[0]
    assert Seen.load(tmp_path / "seen.json") == Seen(
        {"alan": Bearer("sub-2", 20001), "grace": Bearer("sub-1", 20000)}, {"lab": 30000}
    )
    for name in ("tombstones.json", "seen.json"):
        (tmp_path / name).unlink()
    source.answer = (replace(GRACE, sub="x", name="other"), replace(ALAN, groups={"lab": 30001}))
    make(tmp_path, source, memory).sync()
    rows = {row["name"]: (row["sub"], row["state"]) for row in read(tmp_path)}
    assert rows == {"alan": ("sub-2", "active"), "grace": ("sub-1", "active")}
    seen = Seen.load(tmp_path / "seen.json")
    assert seen.first("member", 20000) == 20002 and seen.groups == {"lab": 30000}


def test_who_cannot_be_read_at_the_source_stays_as_they_are_and_is_told(tmp_path: Path) -> None:
    source = Source(GRACE, ALAN)
    make(tmp_path, source).sync()
    source.answer, source.unread = (replace(ALAN, state="suspended"),), (Unread("sub-1", "Grace", "endTime 'soon'"),)
    daemon = make(tmp_path, source)  # started anew: it knows of grace by the nodes' list and the tombstones only
    daemon.sync()
    assert {row["name"]: row["state"] for row in read(tmp_path)} == {"alan": "suspended", "grace": "active"}
    assert daemon.again
    with pytest.raises(Failed, match="member Grace: endTime 'soon'"):
        checks.check_faults(str(tmp_path / "faults.json"))
    source.answer, source.unread = (ALAN,), ()  # now grace is really gone
    for _ in range(2):
        daemon.sync()
    assert {row["name"]: row["state"] for row in read(tmp_path)} == {"alan": "active", "grace": "removed"}
    assert not daemon.again


def test_a_dry_run_tells_all_and_changes_nothing(tmp_path: Path) -> None:
    daemon = make(tmp_path, Source(GRACE))
    assert list(daemon.plan()) == ["memory: member grace: none → active lab", "nodes: member grace: told, active"]
    assert not list(tmp_path.iterdir()) and not there(daemon)
    assert daemon.sync() == ["memory: member grace: none → active lab", "nodes: member grace: told, active"]
    assert list(daemon.plan()) == []


def test_the_check_of_the_list_asks_for_the_newest_and_some_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"name": f"user{number}", "uid": 20000 + number, "state": "active"} for number in range(10_000)]
    (tmp_path / "accounts").write_text(json.dumps([*rows, {"name": "gone", "uid": 40000, "state": "removed"}]))
    asked: set[str] = set()
    monkeypatch.setattr(checks, "_known", lambda name: not asked.add(name))  # type: ignore[func-returns-value]
    assert checks.check_listing(str(tmp_path / "accounts"), 15) == "10001 accounts"
    assert {f"user{number}" for number in range(9950, 10_000)} < asked and len(asked) == 100
    monkeypatch.setattr(checks, "_known", lambda name: name != "user9999")
    with pytest.raises(Failed, match="does not know user9999"):
        checks.check_listing(str(tmp_path / "accounts"), -1)
