from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from farmlet.runtime import audit


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "audit.log"
    for name in ("alice", "bob", "carol"):
        audit.append(path, "member.added", member=name, by="root")
    return path


def change(path: Path, edit: object) -> None:
    lines = path.read_text().splitlines(keepends=True)
    assert callable(edit)
    path.write_text("".join(edit(lines)))


def test_lines_are_chained(log: Path) -> None:
    assert audit.verify(log) == 3
    first, second = (json.loads(line) for line in log.read_text().splitlines()[:2])
    assert second["previous"] == first["hash"] and first["member"] == "alice"
    assert log.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("edit", "line"),
    [
        (lambda lines: [lines[0], lines[1].replace("bob", "eve"), lines[2]], 2),
        (lambda lines: [lines[0], lines[2]], 2),
        (lambda lines: [lines[1], lines[2]], 1),
        (lambda lines: [lines[0], lines[0], *lines[1:]], 2),
        (lambda lines: [*lines[:2], "{}\n"], 3),
        (lambda lines: [*lines[:2], lines[2].rstrip()], 3),
    ],
    ids=["changed", "removed", "beheaded", "doubled", "foreign", "cut"],
)
def test_tampering_is_named(log: Path, edit: object, line: int) -> None:
    change(log, edit)
    with pytest.raises(audit.Broken, match=f"audit.log:{line}"):
        audit.verify(log)


def test_no_line_is_added_after_a_broken_one(log: Path) -> None:
    change(log, lambda lines: [*lines[:2], lines[2][:20]])
    with pytest.raises(audit.Broken):
        audit.append(log, "member.added", member="dan")


def test_lines_longer_than_a_block_are_refused(log: Path) -> None:
    audit.append(log, "member.added", note="x" * 60000)
    audit.append(log, "member.added", member="dan")
    with pytest.raises(ValueError, match="bytes"):
        audit.append(log, "member.added", note="x" * 70000)
    assert audit.verify(log) == 5


def test_writers_at_the_same_time(log: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: audit.append(log, "number", number=number), range(40)))
    assert audit.verify(log) == 43


def test_read_gives_every_line_in_order(log: Path) -> None:
    assert [line["member"] for line in audit.read(log)] == ["alice", "bob", "carol"]
    with log.open("ab") as stream:
        stream.write(b"not json\n")
    with pytest.raises(audit.Broken, match=r"audit\.log:4"):
        list(audit.read(log))


def test_finding_one_event(log: Path) -> None:
    audit.append(log, "token.minted", member="bob", by="ada", reason='"event": "token.minted"')
    audit.append(log, "member.added", member="eve", by="ada", reason='"event": "token.minted"')  # no more than looks like it
    found = list(audit.find(log, "token.minted"))
    assert [(line["event"], line["member"]) for line in found] == [("token.minted", "bob")]
    assert list(audit.find(log, "token.minted", since=found[0]["at"] + 1)) == []
    assert list(audit.find(log.parent / "none.log", "token.minted")) == []
