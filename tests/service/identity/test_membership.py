"""The seam of membership: the same cases over our real service and over a stand-in for an INDIGO IAM (see iam.py)."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import pytest
from iam import CLIENT, EXTENSION, SECRET, Iam
from issuer import RIGHTS, Service

from farmlet.errors import FarmletError
from farmlet.parts.accounts import builtin, indigo, state
from farmlet.parts.accounts.builtin import Builtin
from farmlet.parts.accounts.indigo import Indigo
from farmlet.parts.accounts.ledger import Ledger
from farmlet.parts.accounts.membership import Member, MembershipSource
from farmlet.parts.accounts.scim import Reader

pytestmark = pytest.mark.service
LAYOUT = state.Layout("dc=farmlet,dc=test", "/home", "/bin/bash")
PAST = datetime.now(UTC) - timedelta(hours=1)
FUTURE = PAST + timedelta(days=1)


class House(Protocol):
    """Whoever keeps members, with what is done to them there."""

    reader: Reader
    source: MembershipSource
    elsewhere: MembershipSource  # the same, where nobody answers

    def add(self, name: str, *groups: str) -> None: ...
    def move(self, verb: str, name: str) -> None: ...
    def expire(self, name: str, at: datetime) -> None: ...
    def regroup(self, name: str, *groups: str) -> None: ...


class Ours:
    def __init__(self, service: Service) -> None:
        self._service = service
        secret = service.folder / "accounts.secret"
        self.reader = Reader(service.issuer, "accounts", secret, service.cafile)
        self.source = Builtin(self.reader)
        self.elsewhere = Builtin(Reader("https://localhost:1", "accounts", secret, service.cafile))

    def add(self, name: str, *groups: str) -> None:
        self._service.do("member", "add", name, *(f"--group={group}" for group in groups), "--name", "Some Body")

    def move(self, verb: str, name: str) -> None:
        self._service.do("member", verb, name)

    def expire(self, name: str, at: datetime) -> None:
        self._write("UPDATE identity_member SET expires = ? WHERE name = ?", at.strftime("%Y-%m-%d %H:%M:%S"), name)

    def regroup(self, name: str, *groups: str) -> None:
        mine = "(SELECT id FROM identity_member WHERE name = ?)"
        self._write(f"DELETE FROM identity_member_groups WHERE member_id = {mine}", name)
        insert = "INSERT INTO identity_member_groups (member_id, group_id) SELECT m.id, g.id"
        for group in groups:
            self._write(f"{insert} FROM identity_member m, identity_group g WHERE m.name = ? AND g.path = ?", name, group)

    def _write(self, statement: str, *values: str) -> None:
        with sqlite3.connect(self._service.folder / "db" / "db.sqlite3", timeout=20) as connection:
            assert connection.execute(statement, values).rowcount
        connection.close()


class Theirs:
    def __init__(self, iam: Iam, folder: Path) -> None:
        self.iam, self._secret = iam, folder / "secret"
        self._secret.write_text(f"{SECRET}\n")
        self.ledger = Ledger(folder / "ledger.sqlite3", 20000, 30000)
        self.reader = Reader(iam.issuer, CLIENT, self._secret)
        self.source = self.make(self.reader)
        self.elsewhere = self.make(Reader("http://localhost:1/", CLIENT, self._secret))

    def make(self, reader: Reader) -> Indigo:
        return Indigo(reader, self.ledger, list(RIGHTS.groups), "vo/af", seconds=0.3)

    def add(self, name: str, *groups: str) -> None:
        self.iam.add(name, *(f"vo/af/{group}" for group in groups))

    def move(self, verb: str, name: str) -> None:
        if verb == "remove":
            self.iam.users.remove(self.iam.find(name))
        else:
            self.iam.find(name)["active"] = verb == "resume"

    def expire(self, name: str, at: datetime) -> None:
        self.iam.find(name)[EXTENSION]["endTime"] = at.isoformat(timespec="milliseconds")

    def regroup(self, name: str, *groups: str) -> None:
        self.iam.find(name)["groups"] = [self.iam.group(f"vo/af/{group}") for group in groups]


@pytest.fixture
def iam() -> Iterator[Iam]:
    running = Iam()
    yield running
    running.close()


@pytest.fixture(params=["ours", "theirs"])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> House:
    if request.param == "ours":
        return Ours(request.getfixturevalue("service"))
    return Theirs(request.getfixturevalue("iam"), tmp_path)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> Callable[[str], str]:
    """Names of this test alone: our service is shared, and never gives a name twice."""
    stem = f"{abs(hash(request.node.nodeid)) % 10**8:08d}"
    return lambda short: f"{short}-{stem}"


def look(source: MembershipSource) -> dict[str, Member]:
    return {member.name: member for member in source.members()}


def test_all_members_over_several_pages(house: House, name: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builtin, "PAGE", 2)
    monkeypatch.setattr(indigo, "PAGE", 2)
    wanted = [name(short) for short in "abc"]
    for one in wanted:
        house.add(one, "lab")
    found = look(house.source)
    assert set(wanted) <= set(found)
    assert {found[one].state for one in wanted} == {"active"}
    assert {found[one].title for one in wanted} != {""}
    numbers = [member.uid for member in found.values()]
    assert len(set(numbers)) == len(numbers) and min(numbers) >= 20000
    assert len({member.sub for member in found.values()}) == len(found)
    assert look(house.source) == found  # names and numbers stay


def test_suspended_resumed_expired_removed(house: House, name: Callable[[str], str]) -> None:
    one = name("state")
    house.add(one, "lab")
    number = look(house.source)[one].uid
    for verb, wanted in (("suspend", "suspended"), ("resume", "active")):
        house.move(verb, one)
        assert look(house.source)[one].state == wanted
    house.expire(one, PAST)
    assert look(house.source)[one].state == "suspended"
    house.expire(one, FUTURE)
    assert look(house.source)[one].state == "active"
    if isinstance(house, Theirs):
        house.add(name("other"), "lab")  # the last one who leaves an IAM leaves a list that is not believed
    house.move("remove", one)
    found = look(house.source)[one]
    assert (found.state, found.uid) == ("removed", number)
    accounts = state.read(house.source.members(), RIGHTS)
    assert f"uid={one},{LAYOUT.people}" not in state.entries(accounts, LAYOUT)


def test_groups_follow(house: House, name: Callable[[str], str]) -> None:
    one = name("group")
    house.add(one, "guests")
    assert set(look(house.source)[one].groups) == {"guests"}
    house.regroup(one, "lab/production")
    groups = look(house.source)[one].groups
    assert set(groups) == {"lab", "lab/production"}  # with those above
    assert min(groups.values()) >= 30000 and len(set(groups.values())) == 2
    account = next(item for item in state.read(house.source.members(), RIGHTS) if item.name == one)
    assert set(account.groups) == {"lab", "lab-production"} and account.login
    house.regroup(one, "guests")
    account = next(item for item in state.read(house.source.members(), RIGHTS) if item.name == one)
    assert set(account.groups) == {"guests"} and not account.login


def test_a_page_that_fails_half_way_is_no_answer(
    house: House, name: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builtin, "PAGE", 1)
    monkeypatch.setattr(indigo, "PAGE", 1)
    for short in "ab":
        house.add(name(short), "lab")
    before, real = look(house.source), house.reader.get

    def get(path: str, timeout: float = 15, **query: int) -> dict[str, Any]:
        if query.get("startIndex", 1) > 1:
            raise FarmletError(path, "answers 502")
        return real(path, timeout, **query)

    monkeypatch.setattr(house.reader, "get", get)
    with pytest.raises(FarmletError, match="502"):
        house.source.members()
    monkeypatch.undo()
    assert look(house.source) == before


def test_nobody_answers(house: House) -> None:
    with pytest.raises(FarmletError, match="localhost:1"):
        house.elsewhere.members()


def test_the_first_look_is_at_once_and_the_next_when_something_may_be_new(house: House, name: Callable[[str], str]) -> None:
    began = time.monotonic()
    known = house.source.wait(-1)
    assert time.monotonic() - began < 5
    changed = threading.Timer(0.2, house.add, (name("wake"), "lab"))
    changed.start()
    assert house.source.wait(known) != known
    changed.join()


# What only an IAM can bring


def test_three_pages_of_at_most_a_hundred_without_a_filter(iam: Iam, tmp_path: Path) -> None:
    house = Theirs(iam, tmp_path)
    for number in range(250):
        house.add(f"user{number}", "lab")
    assert len(look(house.source)) == 250
    assert [path.partition("?")[2] for path in iam.asked] == [f"startIndex={start}&count=100" for start in (1, 101, 201)]
    iam.fail_from = 101
    with pytest.raises(FarmletError, match="answers 500"):
        house.source.members()
    iam.fail_from, iam.broken = 0, b'{"totalResults": 250, "Resources": [{"id'
    with pytest.raises(FarmletError):
        house.source.members()
    iam.broken = b'{"totalResults": 250, "Resources": []}'
    with pytest.raises(FarmletError, match="changed while it was read"):
        house.source.members()
    iam.broken = b""
    iam.users[200] = iam.users[0]  # somebody moved from page to page: another may have been missed
    with pytest.raises(FarmletError, match="changed while it was read"):
        house.source.members()


def test_names_of_others_become_unix_names_once(iam: Iam, tmp_path: Path) -> None:
    house = Theirs(iam, tmp_path)
    usernames = ["grace", "Grace", "grace@example.org", "Zoë.Müller", "root", "lab-production", "陳", "x" * 60, "7up"]
    for username in usernames:
        house.add(username, "lab")
    found = {member.username: member.name for member in house.source.members()}
    assert list(map(found.get, usernames)) == [
        "grace", "grace-2", "grace-3", "zoe-muller", "root-2", "lab-production-2", "member", "x" * 31, "up",
    ]  # fmt: skip
    iam.find("Grace")["userName"] = "hopper"  # to be called otherwise changes no account
    assert {member.sub: member.name for member in house.source.members()}[iam.find("hopper")["id"]] == "grace-2"
    again = Theirs(iam, tmp_path)  # the daemon was started anew
    assert {member.username: member.name for member in again.source.members()}["grace@example.org"] == "grace-3"


def test_names_and_numbers_are_never_given_again(iam: Iam, tmp_path: Path) -> None:
    house = Theirs(iam, tmp_path)
    house.add("grace", "lab")
    house.add("alan", "lab")
    first = look(house.source)["grace"]
    house.move("remove", "grace")
    assert look(house.source)["grace"].state == "removed"
    house.add("edsger", "lab")  # two, so that the ids of the stand-in stay different
    iam.users[-1]["id"], iam.users[-1]["userName"] = "somebody-else", "grace"
    second = next(member for member in house.source.members() if member.sub == "somebody-else")
    assert second.name == "grace-2" and second.uid > first.uid


def test_who_is_in_no_group_of_the_facility_is_no_member(iam: Iam, tmp_path: Path) -> None:
    house = Theirs(iam, tmp_path)
    house.add("grace", "lab")
    iam.add("stranger", "vo", "vo/af", "vo/other/lab", "lab", "vo/afterwards/lab")
    assert set(look(house.source)) == {"grace"}
    house.regroup("grace")  # who was one keeps name and number, so that files have an owner
    member = look(house.source)["grace"]
    assert (member.state, dict(member.groups)) == ("suspended", {})
    house.regroup("grace", "lab")
    assert look(house.source)["grace"].state == "active"


def test_an_iam_that_knows_nobody_any_more_is_not_believed(iam: Iam, tmp_path: Path) -> None:
    house = Theirs(iam, tmp_path)
    house.add("grace", "lab")
    house.source.members()
    iam.users.clear()
    with pytest.raises(FarmletError, match="nobody any more"):
        house.source.members()


def test_a_wrong_secret_is_told_in_the_protocols_words(iam: Iam, tmp_path: Path) -> None:
    house = Theirs(iam, tmp_path)
    (tmp_path / "secret").write_text("wrong")
    with pytest.raises(FarmletError, match="invalid_client"):
        house.source.members()


@pytest.mark.parametrize("user", [{"groups": [{"value": "x"}]}, {"name": 7}, {EXTENSION: {"endTime": "soon"}}])
def test_a_user_who_cannot_be_read_stops_the_pass(iam: Iam, tmp_path: Path, user: dict[str, Any]) -> None:
    house = Theirs(iam, tmp_path)
    iam.add("grace", "vo/af/lab", **user)
    with pytest.raises(FarmletError, match="user"):
        house.source.members()
