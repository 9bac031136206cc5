"""The ledger of UNIX names and numbers for members whom somebody else keeps, by properties."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farmlet.errors import FarmletError
from farmlet.facility.names import check_member
from farmlet.parts.accounts.source.ledger import Ledger
from farmlet.runtime.seen import Bearer, Seen

GROUPS = ["lab", "lab/production"]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.text(max_size=40)), max_size=20))
def test_once_for_each_and_never_again(people: list[tuple[int, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.sqlite3"
        gids = Ledger(path, 20000, 30000).ensure_groups(GROUPS)
        given_to: dict[str, tuple[str, int]] = {}
        for sub, username in people:
            # opened anew each time, as by a daemon that was started anew
            entry = Ledger(path, 20000, 30000).ensure_member(f"sub-{sub}", username, GROUPS)
            assert check_member(entry.name, GROUPS) is None
            assert given_to.setdefault(entry.bearer, (entry.name, entry.number)) == (entry.name, entry.number)
        names, numbers = zip(*given_to.values(), strict=True) if given_to else ((), ())
        assert len(set(names)) == len(names)
        assert len({*numbers, *gids.values()}) == len(numbers) + len(gids)
        assert {sub: (one.name, one.number) for sub, one in Ledger(path, 20000, 30000).members().items()} == given_to


def test_numbers_of_both_kinds_may_meet_and_none_is_given_twice(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite3", 20000, 20001)
    numbers = list(ledger.ensure_groups(GROUPS).values())
    numbers += [ledger.ensure_member(f"sub-{index}", f"user{index}", GROUPS).number for index in range(3)]
    assert numbers == [20001, 20002, 20000, 20003, 20004]


def test_a_group_cannot_take_the_name_of_somebody(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite3", 20000, 30000)
    assert ledger.ensure_member("sub-1", "guests", ["lab"]).name == "guests"
    with pytest.raises(FarmletError, match="name the group otherwise"):
        ledger.ensure_groups(["lab", "guests"])


def test_a_ledger_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite3").write_text("no database" * 100)
    with pytest.raises(FarmletError, match="ledger of UNIX names"):
        Ledger(tmp_path / "ledger.sqlite3", 20000, 30000).members()


def test_what_a_copy_allocates_was_never_given(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite3", 20000, 30000)
    assert ledger.copy(tmp_path / "none.sqlite3").ensure_member("sub-1", "ada", GROUPS).number == 20000
    assert not (tmp_path / "ledger.sqlite3").exists()
    ledger.ensure_member("sub-1", "ada", GROUPS)
    assert ledger.copy(tmp_path / "copy.sqlite3").ensure_member("sub-2", "ben", GROUPS).number == 20001
    assert ledger.members().keys() == {"sub-1"}


def test_a_ledger_that_was_lost_gives_nobodys_name_and_number_to_others(tmp_path: Path) -> None:
    """By what the nodes know: who comes back has theirs."""
    first = Ledger(tmp_path / "first.sqlite3", 20000, 30000)
    gids = first.ensure_groups(["lab", "lab/production"])
    people = {sub: first.ensure_member(sub, "ada", GROUPS) for sub in ("sub-1", "sub-2", "sub-3")}
    members = {one.name: Bearer(sub, one.number) for sub, one in people.items()}
    seen = Seen(members, {"lab": gids["lab"], "lab-production": gids["lab/production"]})
    again = Ledger(tmp_path / "again.sqlite3", 20000, 30000, seen)
    assert again.ensure_groups(["guests", "lab/production", "lab"]) == gids | {"guests": 30002}
    stranger = again.ensure_member("sub-9", "ada", GROUPS)
    assert stranger.name not in members and stranger.number == 20003
    assert [again.ensure_member(sub, "ada", GROUPS) for sub in reversed(people)] == list(reversed(people.values()))
    with pytest.raises(FarmletError, match="name the group otherwise"):
        again.ensure_groups(["ada3"])
