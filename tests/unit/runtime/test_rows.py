"""Long lists: valid JSON for everybody, and read row by row."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farmlet.runtime.rows import dump, read

rows = st.lists(st.dictionaries(st.text(max_size=5), st.text() | st.integers() | st.lists(st.text(), max_size=2), max_size=3))


@given(rows)
def test_what_is_written_is_json_and_read_row_by_row(found: list[dict[str, Any]]) -> None:
    data = dump(found)
    assert json.loads(data) == found == list(read(data))
    assert len(data.splitlines()) == max(len(found), 1) + 2


@given(rows)
def test_any_other_list_is_read_too(found: list[dict[str, Any]]) -> None:
    assert list(read(json.dumps(found).encode())) == found


def test_one_row_is_read_before_the_next_is_looked_at() -> None:
    reader = read(b'[\n{"name": "ada"},\n{"name": ')
    assert next(reader) == {"name": "ada"}
    with pytest.raises(ValueError, match="Expecting value"):
        next(reader)
