"""The seam of membership: the same cases over our real service and over a stand-in for an INDIGO IAM (tests/indigo)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from houses import House, Ours, Theirs, look
from issuer import RIGHTS

from farmlet.errors import FarmletError
from farmlet.parts.accounts.sink import state
from farmlet.parts.accounts.source import builtin, indigo

pytestmark = pytest.mark.service
LAYOUT = state.Layout("dc=farmlet,dc=test", "/home", "/bin/bash")
PAST = datetime.now(UTC) - timedelta(hours=1)
FUTURE = PAST + timedelta(days=1)


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
    assert look(house.source)[one].state == "expired"
    house.expire(one, FUTURE)
    assert look(house.source)[one].state == "active"
    if isinstance(house, Theirs):
        house.add(name("other"), "lab")  # the last one who leaves an IAM leaves a list that is not believed
    house.move("remove", one)
    found = look(house.source).get(one)  # our own service tells of nobody who was removed, the IAM's ledger remembers them
    assert (found.state, found.uid) == ("removed", number) if found else not isinstance(house, Theirs)
    accounts = state.read(house.source.read().members, RIGHTS).accounts
    assert f"uid={one},{LAYOUT.people}" not in state.entries(accounts, LAYOUT)


def test_groups_follow(house: House, name: Callable[[str], str]) -> None:
    one = name("group")
    house.add(one, "guests")
    assert set(look(house.source)[one].groups) == {"guests"}
    house.regroup(one, "lab/production")
    groups = look(house.source)[one].groups
    assert set(groups) == {"lab", "lab/production"}  # with those above
    assert min(groups.values()) >= 30000 and len(set(groups.values())) == 2
    account = next(item for item in state.read(house.source.read().members, RIGHTS).accounts if item.name == one)
    assert set(account.groups) == {"lab", "lab-production"} and account.login
    house.regroup(one, "guests")
    account = next(item for item in state.read(house.source.read().members, RIGHTS).accounts if item.name == one)
    assert set(account.groups) == {"guests"} and not account.login


def test_a_service_member_has_an_account_and_never_logs_in(house: House, name: Callable[[str], str]) -> None:
    house.add(name("owner"), "lab")
    house.add_service(name("robot"), "lab")
    accounts = {account.name: account for account in state.read(house.source.read().members, RIGHTS).accounts}
    assert accounts[name("owner")].login and not accounts[name("owner")].service
    assert accounts[name("robot")].service and accounts[name("robot")].active and not accounts[name("robot")].login


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
        house.source.read()
    monkeypatch.undo()
    assert look(house.source) == before


def test_nobody_answers(house: House) -> None:
    with pytest.raises(FarmletError, match="localhost:1"):
        house.elsewhere.read()


@pytest.mark.timeout(20)  # a look that waits takes longer
def test_the_first_look_is_at_once_and_the_next_when_something_may_be_new(house: House, name: Callable[[str], str]) -> None:
    known = house.source.wait(-1)
    changed = threading.Timer(0.2, house.add, (name("wake"), "lab"))
    changed.start()
    assert house.source.wait(known) != known
    changed.join()
