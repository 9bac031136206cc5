"""What only an INDIGO IAM brings as the source of members (the stand-in of iam.py)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from houses import Theirs, look
from iam import EXTENSION, Iam

from farmlet.errors import FarmletError

pytestmark = pytest.mark.service


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
        "grace", "grace2", "grace3", "zoe-muller", "root2", "lab-production2", "member", "x" * 31, "u7up",
    ]  # fmt: skip
    iam.find("Grace")["userName"] = "hopper"  # to be called otherwise changes no account
    assert {member.sub: member.name for member in house.source.members()}[iam.find("hopper")["id"]] == "grace2"
    again = Theirs(iam, tmp_path)  # the daemon was started anew
    assert {member.username: member.name for member in again.source.members()}["grace@example.org"] == "grace3"


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
