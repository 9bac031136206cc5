"""Whom a source of membership forgets, the nodes still hear of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from farmlet.errors import FarmletError
from farmlet.parts.accounts.deprovision.tombstones import Tombstones
from farmlet.parts.accounts.sink.state import Account


def account(name: str, uid: int) -> Account:
    return Account(f"sub-{name}", name, uid, uid, name.title(), "active", True, {"lab": 30000})


def test_who_is_gone_is_removed_and_stays_so_until_back(tmp_path: Path) -> None:
    path = tmp_path / "tombstones.json"
    ada, bob = account("ada", 20000), account("bob", 20001)
    assert Tombstones(path).complete([bob, ada]) == (ada, bob)
    found = Tombstones(path).complete([bob])
    assert [(one.name, one.uid, one.state, one.login) for one in found] == [
        ("ada", 20000, "removed", False),
        ("bob", 20001, "active", True),
    ]
    assert found[0].left > 1_600_000_000 and found[1].left == 0
    before = path.stat().st_mtime_ns
    assert Tombstones(path).complete([bob]) == found and path.stat().st_mtime_ns == before
    assert Tombstones(path).complete([ada, bob]) == (ada, bob)
    assert path.stat().st_mode & 0o777 == 0o600
    assert '"left"' not in path.read_text()  # the grace begins anew when they leave again


def test_a_source_that_remembers_the_removed_tells_the_same(tmp_path: Path) -> None:
    path, gone = tmp_path / "tombstones.json", replace(account("ada", 20000), state="removed")
    (first,) = Tombstones(path).complete([gone])
    assert first.left > 0 and replace(first, left=0) == gone
    (again,) = Tombstones(path).complete([])
    assert (again.left, again.state) == (first.left, "removed")


def test_a_memory_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    path = tmp_path / "tombstones.json"
    path.write_text('{"ada": {"sub": "sub-ada", "uid": 20000, "gid": 20000}}')
    assert Tombstones(path).complete([], frozenset({"ada"})) == ()
    (found,) = Tombstones(path).complete([])
    assert found.left > 0


@pytest.mark.parametrize("text", ["", "[]", '{"ada": 1}', '{"ada": {"uid": 1}}'])
def test_a_broken_memory_is_told_and_not_forgotten(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tombstones.json"
    path.write_text(text)
    with pytest.raises(FarmletError, match="cannot be read"):
        Tombstones(path).complete([])
    assert path.read_text() == text
