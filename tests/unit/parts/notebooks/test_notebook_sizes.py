"""What a member may choose, by the page or past it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from farmlet.parts.notebooks.sizes import GIB, Size, choose, limit, suggest

USUAL, MOST = Size(1, 2 * GIB), Size(4, 8 * GIB)
JSON = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(), lambda few: some.lists(few, max_size=2)
)


def test_the_page_and_the_api_may_choose_within_the_limits() -> None:
    assert choose({"cores": "4", "memory": "8"}, USUAL, MOST) == MOST
    assert choose({"cores": 2, "memory": 0.5}, USUAL, MOST) == Size(2, GIB // 2)
    assert choose({"cores": ["3"], "memory": ["1.5"]}, USUAL, MOST) == Size(3, GIB * 3 // 2)
    assert choose({}, USUAL, MOST) == USUAL


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"cores": 5}, "1 to 4"),
        ({"cores": 0}, "1 to 4"),
        ({"cores": 1.5}, "whole ones"),
        ({"memory": "8.5"}, "0.5 to 8"),
        ({"memory": "nan"}, "0.5 to 8"),
        ({"memory": "inf"}, "0.5 to 8"),
        ({"memory": -1}, "0.5 to 8"),
        ({"memory": "much"}, "no number"),
        ({"cores": True}, "no number"),
        ({"cores": ["1", "2"]}, "no number"),
    ],
)
def test_what_is_over_the_limits_is_refused_in_words(wish: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        choose(wish, USUAL, MOST)


@given(some.dictionaries(some.sampled_from(["cores", "memory", "image"]), JSON))
def test_whatever_is_asked_for_stays_within_the_limits(wish: dict[str, Any]) -> None:
    try:
        found = choose(wish, USUAL, MOST)
    except ValueError:
        return
    assert 1 <= found.cores <= MOST.cores and GIB // 2 <= found.memory <= MOST.memory


def test_where_groups_say_nothing_the_usual_holds() -> None:
    assert limit(USUAL, 0, 8 * GIB) == Size(1, 8 * GIB)
    assert limit(USUAL, 4, 0) == Size(4, 2 * GIB)
    small = limit(USUAL, 1, GIB // 4)
    assert suggest(USUAL, small) == small
    assert choose({}, USUAL, small) == small
