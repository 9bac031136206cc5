"""One pass of the accounts daemon, with a directory in memory and a source that answers as it is told."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from farmlet.errors import FarmletError
from farmlet.facility.rights import GroupRights, Table
from farmlet.parts.accounts import state
from farmlet.parts.accounts.daemon import Daemon, load
from farmlet.parts.accounts.departed import Departed
from farmlet.parts.accounts.membership import Member
from farmlet.parts.accounts.record import Record
from farmlet.runtime import audit

ISSUER = "https://iam.example.org/"
GRACE = Member("sub-1", "grace", 20000, 20000, "Grace Example", "active", {"lab": 30000}, "Grace@example.org", "g@example.org")
ALAN = Member("sub-2", "alan", 20001, 20001, "Alan Example", "active", {"lab": 30000})


class Source:
    def __init__(self, *members: Member) -> None:
        self.answer: Sequence[Member] | FarmletError = members

    def members(self) -> tuple[Member, ...]:
        if isinstance(self.answer, FarmletError):
            raise self.answer
        return tuple(self.answer)

    def wait(self, known: int) -> int:
        return known + 1


class Memory:
    def __init__(self) -> None:
        self.entries: dict[str, dict[str, tuple[str, ...]]] = {}

    def load(self) -> dict[str, dict[str, tuple[str, ...]]]:
        return dict(self.entries)

    def apply(self, changes: Sequence[state.Change]) -> None:
        for change in changes:
            if change.kind == "delete":
                del self.entries[change.dn]
            else:
                merged = {**self.entries.get(change.dn, {}), **change.attributes}
                self.entries[change.dn] = {name: values for name, values in merged.items() if values}


def make(folder: Path, source: Source) -> Daemon:
    table = Table({"lab": GroupRights(login=True)})
    layout = state.Layout("dc=af,dc=test", "/home", "/bin/bash")
    return Daemon(source, Memory(), table, layout, folder, Departed(folder / "departed.json"), Record(folder, ISSUER))  # type: ignore[arg-type]


def read(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "accounts").read_text())
    return found


def test_an_issuer_that_does_not_answer_changes_nothing(tmp_path: Path) -> None:
    source = Source(GRACE, ALAN)
    daemon = make(tmp_path, source)
    assert daemon.sync()
    before, entries = (tmp_path / "accounts").read_bytes(), daemon.directory.load()
    source.answer = FarmletError(ISSUER, "answers 502")
    with pytest.raises(FarmletError, match="502"):
        daemon.sync()
    assert (tmp_path / "accounts").read_bytes() == before
    assert daemon.directory.load() == entries
    assert json.loads((tmp_path / "members.json").read_text())["members"][1]["name"] == "grace"


def test_who_left_the_issuer_leaves_the_directory_and_the_nodes_are_told(tmp_path: Path) -> None:
    source = Source(GRACE, ALAN)
    daemon = make(tmp_path, source)
    daemon.sync()
    source.answer = (GRACE, replace(ALAN, state="removed", groups={}))
    assert [change.dn for change in daemon.sync() if change.kind == "delete"] == [
        "cn=alan,ou=groups,dc=af,dc=test",
        "uid=alan,ou=people,dc=af,dc=test",
    ]
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


def test_without_its_secret_the_daemon_starts_and_says_where_to_put_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # python-ldap need not be here
    monkeypatch.setitem(sys.modules, "farmlet.parts.accounts.directory", SimpleNamespace(Directory=lambda base: Memory()))  # type: ignore[arg-type]
    place = tmp_path / "issuer-client.secret"
    source = {"issuer": ISSUER, "client": "reader", "folder": str(tmp_path), "secret": str(place), "prefix": ""}
    config = {"source": source | {"first_uid": 20000, "first_gid": 30000}, "rights": {"groups": []}}
    layout = {
        "base": "dc=af",
        "homes": "/home",
        "shell": "/bin/sh",
        "outbox": str(tmp_path),
        "departed": str(tmp_path / "departed.json"),
    }
    (tmp_path / "config").write_text(json.dumps(config | layout))
    daemon = load(tmp_path / "config")
    with pytest.raises(FarmletError, match="secret of the client reader"):
        daemon.sync()
    place.write_text("\n")
    with pytest.raises(FarmletError, match=str(place)) as caught:
        daemon.sync()
    assert "reader" in caught.value.hint
    own = {"source": {"issuer": "https://service.af.test", "client": "accounts"}}
    (tmp_path / "config").write_text(json.dumps(config | layout | own))
    with pytest.raises(FarmletError, match="secret is missing"):
        load(tmp_path / "config")
