"""What only an INDIGO IAM brings as the source of members (the stand-in of tests/indigo)."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from houses import Theirs, look
from issuer import RIGHTS

from farmlet.errors import FarmletError
from farmlet.parts.accounts.daemon import Daemon
from farmlet.parts.accounts.deprovision.missing import Guard
from farmlet.parts.accounts.deprovision.tombstones import Tombstones
from farmlet.parts.accounts.sink import state
from farmlet.parts.accounts.sink.memory import Memory
from farmlet.parts.accounts.source.indigo import Indigo
from farmlet.parts.accounts.source.logins import Logins
from indigo import EXTENSION, Iam
from waiting import until

pytestmark = pytest.mark.service


def test_three_pages_of_at_most_a_hundred_without_a_filter(iam: Iam, tmp_path: Path) -> None:
    house = Theirs(iam, tmp_path)
    for number in range(250):
        house.add(f"user{number}", "lab")
    assert len(look(house.source)) == 250
    assert [path.partition("?")[2] for path in iam.asked] == [f"startIndex={start}&count=100" for start in (1, 101, 201)]
    iam.fail_from = 101
    with pytest.raises(FarmletError, match="answers 500"):
        house.source.read()
    iam.fail_from, iam.broken = 0, b'{"totalResults": 250, "Resources": [{"id'
    with pytest.raises(FarmletError):
        house.source.read()
    iam.broken = b'{"totalResults": 250, "Resources": []}'
    with pytest.raises(FarmletError, match="changed while it was read"):
        house.source.read()
    iam.broken = b""
    iam.users[200] = iam.users[0]  # somebody moved from page to page: another may have been missed
    with pytest.raises(FarmletError, match="changed while it was read"):
        house.source.read()


def test_a_user_deleted_while_the_list_is_read_costs_nobody_else_anything(iam: Iam, tmp_path: Path) -> None:
    house = Theirs(iam, tmp_path)
    for number in range(150):
        house.add(f"user{number}", "lab")
    assert len(look(house.source)) == 150
    iam.between = lambda: iam.remove("user7") if iam.by_id(gone) else None
    gone = iam.find("user7")["id"]
    with pytest.raises(FarmletError, match="changed while it was read"):
        house.source.read()
    # another one joined in the same moment: as many as before, and one of them is on no page
    gone, skipped = iam.find("user8")["id"], iam.find("user101")["id"]
    iam.between = lambda: (iam.remove("user8"), house.add("late", "lab")) if iam.by_id(gone) else None
    found = {member.sub: member.state for member in house.source.read().members}
    assert found[skipped] == "removed" and found[gone] == "active"
    assert house.source.has(skipped) and not house.source.has(gone)


def test_who_is_on_no_page_keeps_account_jobs_and_credential(iam: Iam, tmp_path: Path) -> None:
    """The daemon as it is, but for the directory: a member of the second page slips onto the first one as it was read."""
    house = Theirs(iam, tmp_path)
    for number in range(150):
        house.add(f"user{number}", "lab")
    memory, tombstones, faults = Memory(), Tombstones(tmp_path / "tombstones.json"), tmp_path / "faults.json"
    daemon = Daemon(house.source, (memory,), RIGHTS, tombstones, Guard(tmp_path), faults)
    daemon.sync()
    gone = iam.find("user8")["id"]
    iam.between = lambda: (iam.remove("user8"), house.add("late", "lab")) if iam.by_id(gone) else None
    daemon.sync()
    assert memory.accounts["user100"].active and daemon.again
    for _ in range(2):  # user8 is really gone: 404, and twice
        assert memory.accounts["user8"].active
        daemon.sync()
    assert "user8" not in {name for name, account in memory.accounts.items() if account.state != "removed"}
    assert memory.accounts["user100"].active and not daemon.again


def test_who_is_on_no_page_twice_in_a_row_is_asked_for_by_id(iam: Iam, tmp_path: Path) -> None:
    house = Theirs(iam, tmp_path)
    for number in range(150):
        house.add(f"user{number}", "lab")
    memory, tombstones, faults = Memory(), Tombstones(tmp_path / "tombstones.json"), tmp_path / "faults.json"
    daemon = Daemon(house.source, (memory,), RIGHTS, tombstones, Guard(tmp_path), faults)
    daemon.sync()
    for gone in ("user8", "user9"):
        sub = iam.find(gone)["id"]
        iam.users.sort(key=lambda user: user["userName"] == "user100")
        iam.users.insert(100, iam.users.pop())  # the first of the second page
        iam.between = lambda sub=sub, gone=gone: (iam.remove(gone), house.add(f"after-{gone}", "lab")) if iam.by_id(sub) else None
        daemon.sync()
        assert memory.accounts["user100"].active and not iam.by_id(sub)


def test_a_page_that_is_not_found_says_nothing_of_anybody(iam: Iam, tmp_path: Path) -> None:
    """As where the proxy before an IAM leads elsewhere."""
    house = Theirs(iam, tmp_path)
    with pytest.raises(FarmletError, match="answers 404"):
        house.reader.has("/no/such/place", "x")
    assert not house.source.has("x")


def test_names_of_others_become_unix_names_once(iam: Iam, tmp_path: Path) -> None:
    house = Theirs(iam, tmp_path)
    usernames = ["grace", "Grace", "grace@example.org", "Zoë.Müller", "root", "lab-production", "陳", "x" * 60, "7up"]
    for username in usernames:
        house.add(username, "lab")
    found = {member.username: member.name for member in house.source.read().members}
    assert list(map(found.get, usernames)) == [
        "grace", "grace2", "grace3", "zoe-muller", "root2", "lab-production2", "member", "x" * 31, "u7up",
    ]  # fmt: skip
    iam.find("Grace")["userName"] = "hopper"  # to be called otherwise changes no account
    assert {member.sub: member.name for member in house.source.read().members}[iam.find("hopper")["id"]] == "grace2"
    again = Theirs(iam, tmp_path)  # the daemon was started anew
    assert {member.username: member.name for member in again.source.read().members}["grace@example.org"] == "grace3"


def test_names_and_numbers_are_never_given_again(iam: Iam, tmp_path: Path) -> None:
    house = Theirs(iam, tmp_path)
    house.add("grace", "lab")
    house.add("alan", "lab")
    first = look(house.source)["grace"]
    house.move("remove", "grace")
    assert look(house.source)["grace"].state == "removed"
    house.add("edsger", "lab")  # two, so that the ids of the stand-in stay different
    iam.users[-1]["id"], iam.users[-1]["userName"] = "somebody-else", "grace"
    second = next(member for member in house.source.read().members if member.sub == "somebody-else")
    assert second.name == "grace2" and second.uid > first.uid


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


def test_who_logs_in_is_asked_for_at_once_and_alone(iam: Iam, tmp_path: Path) -> None:
    house, told = Theirs(iam, tmp_path), tmp_path / "logins"
    for number in range(120):
        house.add(f"user{number}", "lab")
    reader = house.reader
    source = Indigo(reader, house.ledger, list(RIGHTS.groups), "vo/af", 600, Logins(told))
    assert look(source)["user7"].state == "active"
    iam.asked.clear()
    found = []
    waiting = threading.Thread(target=lambda: found.append(source.wait(1)), daemon=True)
    waiting.start()
    for name in ("user8", "nobody", "../x", "\udcff"):  # nothing is new of them
        with told.open("a", errors="replace") as stream:
            stream.write(f"1 {name}\n")
    until(lambda: iam.asked)
    iam.find("user7")["active"] = False
    with told.open("a") as stream:
        stream.write("2 user7\n")
    waiting.join(20)
    assert found == [2], "the daemon is told, and not only in ten minutes"
    assert look(source)["user7"].state == "suspended" and look(source)["user8"].state == "active"
    alone = [path for path in iam.asked if "startIndex" not in path]
    assert len(alone) == 2 and len(iam.asked) == 4, "the first look after it is at what is known, the second one at all"


def test_an_iam_that_knows_nobody_any_more_is_not_believed(iam: Iam, tmp_path: Path) -> None:
    house = Theirs(iam, tmp_path)
    house.add("grace", "lab")
    tombstones, guard = Tombstones(tmp_path / "tombstones.json"), Guard(tmp_path)
    tombstones.complete(state.read(house.source.read().members, RIGHTS).accounts)
    iam.users.clear()
    found = house.source.read()
    assert [member.state for member in found.members] == ["removed"] and found.ended is None
    missing = tombstones.find_missing(state.read(found.members, RIGHTS).accounts, frozenset())
    assert guard.hold(missing, told=False, others=False) == {"grace"}


def test_a_wrong_secret_is_told_in_the_protocols_words(iam: Iam, tmp_path: Path) -> None:
    house = Theirs(iam, tmp_path)
    (tmp_path / "secret").write_text("wrong")
    with pytest.raises(FarmletError, match="invalid_client: Bad client credentials"):
        house.source.read()


@pytest.mark.parametrize("user", [{"groups": [{"value": "x"}]}, {"name": 7}, {EXTENSION: {"endTime": "soon"}}])
def test_a_user_who_cannot_be_read_costs_nobody_else_anything(iam: Iam, tmp_path: Path, user: dict[str, Any]) -> None:
    house = Theirs(iam, tmp_path)
    house.add("alan", "lab")
    house.add("grace", "lab")
    assert set(look(house.source)) == {"alan", "grace"}
    iam.find("grace").update(user)
    found = house.source.read()
    assert [member.name for member in found.members] == ["alan"]
    assert [(one.sub, one.who) for one in found.unread] == [(iam.find("grace")["id"], "grace")]
