from __future__ import annotations

import errno
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from farmlet.runtime import audit
from farmlet.runtime.checkpoint import Checkpoint


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


def test_no_line_is_added_after_one_that_is_none(log: Path) -> None:
    change(log, lambda lines: [*lines[:2], lines[2][:20] + "\n"])
    with pytest.raises(audit.Broken):
        audit.append(log, "member.added", member="dan")


@pytest.mark.parametrize("lines", [0, 1, 3])
@pytest.mark.parametrize("torn", [b"{", b"\0" * 9000, b'{"at": 1764.5, "event": "member.a'], ids=["begun", "zeros", "half"])
def test_what_a_power_failure_left_of_a_line_goes_and_is_told(tmp_path: Path, torn: bytes, lines: int) -> None:
    log = tmp_path / "audit.log"
    for _ in range(lines):
        audit.append(log, "member.added", member="ada")
    with log.open("ab") as stream:
        stream.write(torn)
    checkpoint = Checkpoint(log, tmp_path / "checkpoint.json")
    assert checkpoint.verify().lines == lines and len(list(audit.read(log))) == lines
    audit.append(log, "member.added", member="dan")
    assert audit.verify(log) == lines + 2 == checkpoint.verify().lines
    assert [line["bytes"] for line in audit.find(log, "audit.mended")] == [len(torn)]


def test_a_line_that_was_verified_and_is_cut_later_is_no_power_failure(log: Path) -> None:
    checkpoint = Checkpoint(log, log.parent / "checkpoint.json")
    checkpoint.verify()
    change(log, lambda lines: [*lines[:2], lines[2].rstrip()])
    with pytest.raises(audit.Broken, match="shorter"):
        checkpoint.verify()


def test_a_disk_that_is_full_costs_the_line_that_did_not_fit_and_no_other(log: Path) -> None:
    """In a process of its own: the limit stands for the disk, of which a part of the line still fits."""
    size = log.stat().st_size
    script = f"""
import resource
from pathlib import Path
from farmlet.runtime import audit
from farmlet.runtime.checkpoint import Checkpoint
log = Path({str(log)!r})
resource.setrlimit(resource.RLIMIT_FSIZE, ({size + 50}, resource.RLIM_INFINITY))
for _ in range(2):
    try:
        audit.append(log, "member.added", member="dan")
    except OSError as error:
        print(error.errno)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
audit.append(log, "member.added", member="eve")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(errno.EFBIG)] * 2
    assert audit.verify(log) == 4 and [line["member"] for line in audit.read(log)][-1] == "eve"


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
