"""What root remembers of an audit log: each line is read once, and what was verified is not forgotten."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from farmlet.parts.identity.checks import check_audit
from farmlet.runtime import audit, checkpoint
from farmlet.runtime.checkpoint import Checkpoint
from farmlet.runtime.checks import Failed


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log" / "audit.log"
    path.parent.mkdir()
    fill(path, ["alice", "bob", "carol", "dan"])
    return path


def fill(path: Path, names: Sequence[str]) -> None:
    for name in names:
        audit.append(path, "member.added", member=name, by="root")


@pytest.fixture
def kept(log: Path, tmp_path: Path) -> Checkpoint:
    return Checkpoint(log, tmp_path / "kept.json")


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the lines that were verified."""
    found: list[int] = []

    def walk(path: Path, start: audit.Point, size: int | None = None) -> Iterator[audit.Point]:
        for point in real(path, start, size):
            found.append(point.lines)
            yield point

    real = audit.walk
    monkeypatch.setattr(audit, "walk", walk)
    return found


def test_each_line_is_read_once(log: Path, kept: Checkpoint, read: list[int]) -> None:
    assert kept.verify().lines == 4 and kept.verify().left == 0
    fill(log, ["eve"])
    assert kept.verify().lines == 5 and kept.verify().lines == 5
    assert read == [1, 2, 3, 4, 5]


def test_a_long_log_takes_several_calls(log: Path, tmp_path: Path) -> None:
    kept = Checkpoint(log, tmp_path / "kept.json", new=0, again=0)
    found = [kept.verify() for _ in range(4)]
    assert [one.lines for one in found] == [1, 2, 3, 4]
    assert [one.left > 0 for one in found] == [True, True, True, False]


def rewrite(path: Path, names: Sequence[str]) -> None:
    """Make the log anew as its writer could: every line fits to the one before."""
    path.unlink()
    fill(path, names)


CHANGES: dict[str, Callable[[Path], None]] = {
    "cut at the end": lambda path: path.write_text("".join(path.read_text().splitlines(keepends=True)[:3])),
    "gone": lambda path: path.unlink(),
    "emptied": lambda path: path.write_text(""),
    "made anew, as long": lambda path: rewrite(path, ["alice", "bob", "mallory", "dan"]),
    "made anew, shorter": lambda path: rewrite(path, ["alice"]),
    "made anew, longer": lambda path: rewrite(path, ["alice", "bob", "carol", "dan", "mallory", "trent"]),
    "the last line changed": lambda path: path.write_text(path.read_text().replace("dan", "don")),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_the_log_alone_cannot_tell_is_told_for_as_long_as_it_is_so(
    log: Path, kept: Checkpoint, change: Callable[[Path], None]
) -> None:
    kept.verify()
    before = log.read_bytes()
    change(log)
    for _ in range(2):
        with pytest.raises(audit.Broken, match=r"kept\.json"):
            kept.verify()
    log.write_bytes(before)
    assert kept.verify().lines == 4, "restored"


def test_a_new_line_that_does_not_fit_is_told_each_time(log: Path, kept: Checkpoint) -> None:
    kept.verify()
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join([*lines, lines[1]]))
    for _ in range(2):
        with pytest.raises(audit.Broken, match=r"audit\.log:5: does not follow"):
            kept.verify()


def test_all_is_verified_again_a_little_at_each_call(log: Path, tmp_path: Path, later: Callable[[float], None]) -> None:
    kept = Checkpoint(log, tmp_path / "kept.json", again=0)
    began = kept.verify().whole
    log.write_text(log.read_text().replace("carol", "clara"))  # not the last line: nothing else shows it
    kept.verify()
    later(checkpoint.EVERY + 1)
    assert [kept.verify().whole, kept.verify().whole] == [began, began]
    for _ in range(2):
        with pytest.raises(audit.Broken, match=r"audit\.log:3: was changed"):
            kept.verify()
    log.write_text(log.read_text().replace("clara", "carol"))
    assert [kept.verify().whole, kept.verify().whole] == [began, pytest.approx(began + checkpoint.EVERY + 1, abs=60)]


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    real = time.time

    def shift(seconds: float) -> None:
        monkeypatch.setattr(time, "time", lambda: real() + seconds)

    return shift


def test_a_checkpoint_is_roots_and_a_broken_one_is_told(log: Path, kept: Checkpoint, tmp_path: Path) -> None:
    kept.verify()
    path = tmp_path / "kept.json"
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text(json.dumps({"end": 1}))
    with pytest.raises(audit.Broken, match="is no checkpoint"):
        kept.verify()
    assert path.exists(), "nothing takes its place"


def test_the_check_tells_lines_and_break_glass(log: Path, tmp_path: Path) -> None:
    assert "nothing was decided yet" in check_audit(str(tmp_path / "none"), str(tmp_path / "none.json"))
    audit.append(log, "token.minted", by="ada", member="bob")
    told = check_audit(str(log), str(tmp_path / "kept.json"))
    assert "5 lines, unbroken, all verified in the last 0 min" in told and "the last by ada as bob" in told
    log.unlink()
    with pytest.raises(Failed, match="is shorter than it was: it had 5 lines"):
        check_audit(str(log), str(tmp_path / "kept.json"))


def test_an_event_is_found_without_reading_what_is_older(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "audit.log"
    monkeypatch.setattr(audit, "BLOCK", 300)
    for number in range(200):
        monkeypatch.setattr(time, "time", lambda number=number: 1000.0 + number)
        audit.append(path, "even" if number % 2 == 0 else "odd", number=number)
    for since in (0.0, 1.0, 1000.0, 1001.0, 1100.0, 1137.0, 1198.0, 1199.0, 2000.0):
        found = [line["number"] for line in audit.find(path, "even", since)]
        assert found == [number for number in range(0, 200, 2) if 1000 + number >= since]
