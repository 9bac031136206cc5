from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farmlet.facility.sizes import parse, show


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("6G", 6 * 1024**3),
        ("512M", 512 * 1024**2),
        ("1.5T", 3 * 1024**4 // 2),
        ("64K", 65536),
        ("6GiB", 6 << 30),
        ("6 G", 6 << 30),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse(text) == size


@pytest.mark.parametrize("text", ["", "6", "G", "-6G", "6GB", "6g", "6 G B", "six", "1e3M", "٦G6"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse(text)


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0K"), (1023, "1K"), (1536, "1.5K"), (20 << 30, "20G"), (3 << 39, "1.5T"), (5 << 50, "5120T")]
)
def test_shown(size: int, text: str) -> None:
    assert show(size) == text


@given(st.integers(0, 1 << 60))
def test_what_is_shown_is_read_as_nearly_the_same(size: int) -> None:
    assert abs(parse(show(size)) - size) <= max(size * 0.06, 64)
