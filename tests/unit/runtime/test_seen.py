"""What the nodes know of names and numbers, for those who give them."""

from __future__ import annotations

from pathlib import Path

import pytest

from farmlet.errors import FarmletError
from farmlet.runtime.seen import Bearer, Seen


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "seen.json"
    assert Seen.load(None) == Seen.load(path) == Seen() and Seen().first("member", 20000) == 20000
    seen = Seen({"ada": Bearer("sub-1", 20005)}, {"lab": 30001})
    seen.save(path)
    assert Seen.load(path) == seen and path.stat().st_mode & 0o777 == 0o644
    assert (seen.first("member", 20000), seen.first("member", 30000), seen.first("group", 30000)) == (20006, 30000, 30002)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"members": {}}', '{"members": {"ada": [1]}, "groups": {}}', '{"members": 7, "groups": 7}']
)
def test_what_cannot_be_read_is_not_taken_for_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "seen.json").write_text(text)
    with pytest.raises(FarmletError, match="cannot be read"):
        Seen.load(tmp_path / "seen.json")
