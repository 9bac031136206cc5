"""What sites say is read by types."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farmlet.parts.sitetests.result import NUMBERS, OUTPUT, TEXT, parse, parse_numbers

NOW = 1_800_000_000.0
ROW: dict[str, Any] = {
    "name": "clock", "code": 0, "text": "fine|off=0.5s;5;30", "at": NOW - 9, "seconds": 2, "output": "a\nb", "dropped": 0,
}  # fmt: skip
ODD: Any = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers(), max_size=2)


def test_a_result() -> None:
    (found,) = parse(json.dumps({"host": "wn1", "results": [ROW]}).encode(), ["clock"], NOW)
    assert (found.test, found.code, found.text, found.host, found.output) == ("clock", 0, "fine", "wn1", "a\nb")
    assert found.numbers == {"off": (0.5, "s")} and found.at == NOW - 9


def test_what_is_missing_is_not_known_and_what_was_not_asked_is_left_out() -> None:
    (found,) = parse(json.dumps({"host": "wn1", "results": [ROW]}).encode(), ["image"], NOW)
    assert (found.test, found.word) == ("image", "unknown")


def test_each_test_of_a_report_has_a_result_whatever_it_is_called() -> None:
    names = ["a", "a", "b\x1b[2J", "", "c" * 200]
    told = "tests: " + json.dumps([{"test": name, "passed": number != 1} for number, name in enumerate(names)])
    found = parse(json.dumps({"host": "wn1", "results": [ROW | {"report": told}]}).encode(), ["clock"], NOW)
    wanted = [("clock", 2), ("clock/a", 2), ("clock/b\ufffd[2J", 0), ("clock/", 0), (f"clock/{'c' * 60}", 0)]
    assert [(one.test, one.code) for one in found] == wanted


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"\xff", b'{"host": 1, "results": 3}', b"[" * 100_000])
def test_no_answer_at_all(data: bytes) -> None:
    with pytest.raises(ValueError, match="it is not what the runner writes"):
        parse(data, ["clock"], NOW)


@given(st.dictionaries(st.sampled_from([*ROW]), ODD), ODD)
def test_whatever_a_site_says_costs_that_result(changed: dict[str, Any], host: Any) -> None:
    rows = [ROW | changed | {"name": "clock"}, ROW | {"name": "image"}]
    clock, image = parse(json.dumps({"host": host, "results": rows}).encode(), ["clock", "image"], NOW)
    assert image.code == 0 and clock.code in range(4)
    assert NOW - 86400 <= clock.at <= NOW and clock.text.isprintable() and len(clock.text) <= TEXT and len(clock.output) <= OUTPUT


def test_numbers() -> None:
    assert parse_numbers("a=1s;2;3 'b c'=4.5% d=x e=-1;;; f=1.2.3") == {"a": (1, "s"), "b c": (4.5, "%"), "e": (-1, "")}
    assert len(parse_numbers(" ".join(f"n{number}=1" for number in range(999)))) == NUMBERS
