"""Which paths of an element have which limits."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
from hypothesis import example, given, strategies
from pydantic import ValidationError

from farmlet.errors import FarmletError
from farmlet.facility.rights import USER, GroupRights, Table
from farmlet.parts.storage import limits
from farmlet.parts.storage.config import Storage, lies_within
from farmlet.runtime.checks import Failed

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
        ({"/users/{user}": "1T", "/users/user/deep": "1G"}, "/users/user/deep lies within"),
        ({"/users/ada/deep": "1G", "/users/{user}": "1T"}, "/users/ada/deep lies within"),
        ({"/users/ada": "1T", "/users/{user}/x": "1G"}, "lies within /users/ada"),
        ({"/{user}/data": "1T", "/lab/{user}/x": "1G"}, "lies within"),
        ({"/of-{user}": "1T", "/of-ada/x": "1G"}, "lies within"),
        ({"/users/{user}": "1T", "/users/a{user}": "1G"}, "may be the same path"),
        ({"data": "1T"}, "not an absolute path"),
        ({"/data/../users": "1T"}, "data"),
        ({"/data": "1"}, "not a size"),
        ({"/data": 5}, "less than 1M"),
    ],
)
def test_limits_that_mean_nothing_are_refused(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Storage.model_validate({"limits": wrong})


@pytest.mark.parametrize(
    "paths",
    [
        ("/users/{user}", "/users/user", "/users/ada"),  # one path stands above many
        ("/users/{user}", "/scratch/{user}", "/users2", "/users/.shared/x"),
        ("/of-{user}", "/of-", "/of/{user}", "/to-{user}/x"),
    ],
)
def test_limits_beside_each_other_are_taken(paths: tuple[str, ...]) -> None:
    assert [*Storage.model_validate({"limits": dict.fromkeys(paths, "1T")}).limits] == [*paths]


NAMED = strategies.builds(
    "{}{{user}}{}".format, strategies.sampled_from(("", "a", "ab")), strategies.sampled_from(("", "a", "b"))
)
STEPS = strategies.one_of(NAMED, strategies.sampled_from(("a", "b", "ab", "aab")))
PATTERNS = strategies.lists(STEPS, min_size=1, max_size=3).map(lambda steps: "/" + "/".join(steps))
NAMES = ["".join(letters) for length in (1, 2, 3, 4) for letters in product("ab", repeat=length)]


@given(PATTERNS, PATTERNS)
@example("/{user}/b", "/{user}")
@example("/a{user}/b", "/{user}b")
def test_a_path_lies_within_another_if_it_does_for_some_members(path: str, other: str) -> None:
    """By steps, as every step of its own: `/{user}/{user}` may be two members' here."""

    def fill(step: str) -> set[str]:
        return {step.replace(USER, name) for name in NAMES}

    steps, above = path.split("/"), other.split("/")
    found = len(steps) > len(above) and all(fill(one) & fill(two) for one, two in zip(steps, above, strict=False))
    assert lies_within(path, other) is found


def test_a_slash_at_the_end_is_the_same_path() -> None:
    assert Storage.model_validate({"limits": {"/data/": "1T"}}).limits == {"/data": 1 << 40}


def test_the_same_path_twice_is_refused() -> None:
    with pytest.raises(ValidationError, match="twice"):
        Storage.model_validate({"limits": {"/data/": "1T", "/data": "2T"}})


class Keeping:
    """Stands in for `keep`: what was asked, and of which paths it fails."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int | None]] = []
        self.failing: set[str] = set()

    def __call__(self, root: Path, path: str, size: int | None, server: str) -> str:
        self.asked.append((path, size))
        if path in self.failing:
            raise OSError("the disk is away")
        return ""


@pytest.fixture
def keeping(monkeypatch: pytest.MonkeyPatch) -> Keeping:
    made = Keeping()
    monkeypatch.setattr(limits, "keep", made)
    return made


def apply(folder: Path, **sizes: int) -> None:
    rows = limits.list_limits({f"/{name}": size for name, size in sizes.items()}, TABLE)
    limits.apply(b"[]", str(folder), rows, str(folder / "known.json"), "nobody")


def check(folder: Path) -> str:
    return limits.check_limits(str(folder), str(folder / "known.json"))


def test_a_limit_is_remembered_and_told_until_it_was_lifted(tmp_path: Path, keeping: Keeping) -> None:
    apply(tmp_path, data=5, more=5)
    keeping.failing = {"/data"}
    for _ in range(2):
        with pytest.raises(FarmletError, match="/data: the disk is away"):
            apply(tmp_path, more=5)
        with pytest.raises(Failed, match="/data: the disk is away"):
            check(tmp_path)
    keeping.failing = set()
    apply(tmp_path, more=5)
    assert ("/data", None) in keeping.asked
    assert check(tmp_path) == "1 paths are kept to their limits"
    keeping.asked.clear()
    apply(tmp_path)
    assert keeping.asked == [("/more", None)], "and what was lifted is forgotten"


def test_a_limit_whose_change_failed_is_lifted_in_the_end(tmp_path: Path, keeping: Keeping) -> None:
    apply(tmp_path, data=5)
    keeping.failing = {"/data"}
    with pytest.raises(FarmletError):
        apply(tmp_path, data=9)
    keeping.failing, keeping.asked = set(), []
    apply(tmp_path)
    assert keeping.asked == [("/data", None)]
    assert check(tmp_path) == "0 paths are kept to their limits"
