"""Which paths of an element have which limits."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from farmlet.facility.rights import GroupRights, Table
from farmlet.parts.storage import limits
from farmlet.parts.storage.config import Storage

TABLE = Table(
    {
        "lab": GroupRights(read=("/",), write=("/users/{user}/",)),
        "lab/production": GroupRights(write=("/data",)),
        "guests": GroupRights(read=("/",)),
    }
)
SIZES = {"/users/ada": 5 << 30, "/data": 9 << 30, "/users/{user}": 1 << 30}


def account(name: str, *groups: str, state: str = "active") -> dict[str, object]:
    return {"name": name, "groups": list(groups), "state": state}


def test_members_who_may_write_have_a_path_each_and_one_path_stands_above_many() -> None:
    rows = limits.list_limits(SIZES, TABLE)
    assert [(row["path"], row["groups"]) for row in rows] == [("/users/{user}", ["lab"]), ("/users/ada", []), ("/data", [])]
    people = [account("ada", "lab"), account("bob", "lab", "lab-production"), account("gus", "guests")]
    people += [account("sam", "lab", state="suspended"), account("../etc", "lab")]
    assert limits.expand(people, rows) == {"/users/ada": 5 << 30, "/users/bob": 1 << 30, "/data": 9 << 30}


@pytest.mark.parametrize(
    ("path", "meant"), [("/data", True), ("/users/zoe", True), ("/data/raw", False), ("/users/zoe/x", False)]
)
def test_a_path_is_one_that_the_file_names(path: str, meant: bool) -> None:
    assert limits.is_meant(path, limits.list_limits(SIZES, TABLE)) is meant


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"/": "1T"}, "the whole disk"),
        ({"/data": "1T", "/data/raw": "1G"}, "lies within /data"),
        ({"/users": "1T", "/users/{user}": "1G"}, "lies within /users"),
        ({"data": "1T"}, "not an absolute path"),
        ({"/data/../users": "1T"}, "data"),
        ({"/data": "1"}, "not a size"),
        ({"/data": 5}, "less than 1M"),
    ],
)
def test_limits_that_mean_nothing_are_refused(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Storage.model_validate({"limits": wrong})


def test_a_slash_at_the_end_is_the_same_path() -> None:
    assert Storage.model_validate({"limits": {"/data/": "1T"}}).limits == {"/data": 1 << 40}


def test_the_same_path_twice_is_refused() -> None:
    with pytest.raises(ValidationError, match="twice"):
        Storage.model_validate({"limits": {"/data/": "1T", "/data": "2T"}})
