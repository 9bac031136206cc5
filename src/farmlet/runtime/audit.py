"""An append-only log of what was decided: one JSON object a line, each line bound to the one before by its hash.

A changed, removed or inserted line breaks the chain and `verify` names it. Lines cut off at the very end, and a log that
was written anew as a whole, cannot be seen from the file alone: `runtime.checkpoint` keeps the last hash elsewhere.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from farmlet.errors import FarmletError
from farmlet.runtime.files import sync

GENESIS = "0" * 64
BLOCK = 1 << 16  # bytes read from the end to find the last line; no line is longer


class Broken(FarmletError):
    """The chain does not hold; `where` is the file and line."""


def append(path: Path, event: str, /, **details: Any) -> str:
    """Add a line `{"at", "event", …details, "previous", "hash"}` and return its hash.

    `at` is in seconds since the epoch. Safe among processes; the line is on disk when this returns. Raises OSError, after
    which the log is as it was, Broken if the file's last line is none, ValueError for a line over 64 KiB.

    What a power failure or a killed writer left of a line, nobody was told of: it goes, and `audit.mended` tells how much it was.
    """
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "r+b", buffering=0) as stream:
        handle = stream.fileno()
        fcntl.flock(handle, fcntl.LOCK_EX)
        size, end = os.fstat(handle).st_size, _find_end(handle)
        lines, last = b"", _last(handle, end, path)
        if end < size:
            os.ftruncate(handle, end)
            lines, last = _make_line("audit.mended", {"bytes": size - end, "by": "the log"}, last)
        line, last = _make_line(event, details, last)
        _put(handle, lines + line, end)
        if end == 0:
            sync(path.parent)  # the log is new: its name too must outlive a power failure
        return last


def _make_line(event: str, details: Mapping[str, Any], previous: str) -> tuple[bytes, str]:
    """The line that follows the one whose hash is `previous`, and its own hash."""
    record = {"at": round(time.time(), 3), "event": event, **details, "previous": previous}
    record["hash"] = _hash(record)
    line = (json.dumps(record, sort_keys=True, ensure_ascii=False) + "\n").encode()
    if len(line) >= BLOCK:
        raise ValueError(f"an audit line of {len(line)} bytes")
    return line, str(record["hash"])


def _put(handle: int, data: bytes, end: int) -> None:
    """Write all of `data`, or nothing after `end`: a disk that is nearly full takes a part and calls it success."""
    try:
        while data:
            data = data[os.write(handle, data) :]
        os.fsync(handle)
    except OSError:
        with suppress(OSError):  # the next writer does it
            os.ftruncate(handle, end)
        raise


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of the log as objects, oldest first; an unverified reading (see `verify`). Raises OSError, Broken."""
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            if line.endswith(b"\n"):
                yield _parse(line, path, number)


def find(path: Path, event: str, since: float = 0.0) -> Iterator[dict[str, Any]]:
    """The lines of one event from `since` (seconds since the epoch) on, oldest first; none if there is no log yet.

    What is older is not read, and only lines that hold the event's name are parsed, so that a page can ask. Raises OSError,
    Broken.
    """
    if not path.exists():
        return
    wanted = f'"event": {json.dumps(event)}'.encode()
    with path.open("rb") as stream:
        _seek(stream, path, since)
        for line in stream:
            if wanted in line and line.endswith(b"\n"):
                record = _parse(line, path)
                if record["event"] == event and record["at"] >= since:
                    yield record


def _seek(stream: BinaryIO, path: Path, since: float) -> None:
    """Go to a line that is at most a few blocks before the first one of `since`: the log is in the order of time."""
    low, high = 0, os.fstat(stream.fileno()).st_size if since else 0
    while high - low > 2 * BLOCK:
        middle = (low + high) // 2
        stream.seek(middle)
        stream.readline()  # the rest of a line
        line = stream.readline()
        if line and _parse(line, path)["at"] < since:
            low = middle
        else:
            high = middle
    stream.seek(low)
    if low:
        stream.readline()


class Point(NamedTuple):
    """The end of a line: how many lines and bytes the log has up to there, and the hash of that line."""

    lines: int
    bytes: int
    hash: str


START = Point(0, 0, GENESIS)


def walk(path: Path, start: Point = START, size: int | None = None) -> Iterator[Point]:
    """The end of each line after `start` that fits to the one before, up to `size` bytes of the log (all there are).

    Raises Broken naming the first line that does not fit, or OSError.
    """
    number, end, previous = start
    with path.open("rb") as stream:
        stream.seek(end)
        for line in stream:
            if size is not None and end >= size:
                return
            number, end, previous = number + 1, end + len(line), _follow(line, previous, f"{path}:{number + 1}")
            yield Point(number, end, previous)


def _follow(line: bytes, previous: str, where: str) -> str:
    """The hash of a line that is what it claims to be, and follows the one whose hash is `previous`."""
    try:
        record = json.loads(line)
        claimed = str(record.pop("hash"))
    except (ValueError, KeyError, AttributeError) as error:
        raise Broken(where, "not a line of an audit log") from error
    if record.get("previous") != previous:
        raise Broken(where, "does not follow the line before it: one was removed or added")
    if _hash(record) != claimed or not line.endswith(b"\n"):
        raise Broken(where, "was changed after it was written")
    return claimed


def verify(path: Path) -> int:
    """The number of lines of an unbroken log. Raises Broken naming the first line that does not fit, or OSError."""
    return max((point.lines for point in walk(path)), default=0)


def measure(path: Path) -> int:
    """The bytes of the log's whole lines: what a power failure left of one is not told as tampering. Raises OSError."""
    with path.open("rb") as stream:
        fcntl.flock(stream, fcntl.LOCK_SH)
        return _find_end(stream.fileno())


def is_there(path: Path, point: Point) -> bool:
    """Whether the log has, at `point`, the very line that was there. Raises OSError."""
    if point == START:
        return True
    with path.open("rb") as stream:
        stream.seek(max(0, point.bytes - BLOCK))
        tail = stream.read(min(BLOCK, point.bytes))
    line = tail[:-1].rpartition(b"\n")[2] + tail[-1:]
    try:
        return _follow(line, str(json.loads(line)["previous"]), str(path)) == point.hash
    except (Broken, ValueError, KeyError, TypeError):
        return False


def _parse(line: bytes, path: Path, number: int | str = "?") -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(line)
    except ValueError as error:
        raise Broken(f"{path}:{number}", "not a line of an audit log") from error
    return record


def _hash(record: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _find_end(handle: int) -> int:
    """Where the last line that is whole ends."""
    size = os.fstat(handle).st_size
    start = max(0, size - BLOCK)  # a part of a line is no longer than a line
    found = os.pread(handle, BLOCK, start).rfind(b"\n")
    return start + found + 1 if found >= 0 else 0 if start == 0 else size


def _last(handle: int, end: int, path: Path) -> str:
    """The hash of the line that ends at `end`; GENESIS for the start of the file."""
    if end == 0:
        return GENESIS
    start = max(0, end - BLOCK)
    tail = os.pread(handle, end - start, start)
    try:
        return str(json.loads(tail[:-1].rpartition(b"\n")[2])["hash"])
    except (ValueError, KeyError, TypeError) as error:
        raise Broken(str(path), "its last line is none", "keep the file for inspection and start a new one") from error
