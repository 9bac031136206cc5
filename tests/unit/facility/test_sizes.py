from __future__ import annotations

import pytest

from farmlet.facility.sizes import parse


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
