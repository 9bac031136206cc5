"""An append-only log of what was decided: one JSON object a line, each line bound to the one before by its hash.

A changed, removed or inserted line breaks the chain and `verify` names it. Lines cut off at the very end cannot be
seen from the file alone; whoever needs that keeps the last hash elsewhere.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from farmlet.errors import FarmletError

GENESIS = "0" * 64
BLOCK = 1 << 16  # bytes read from the end to find the last line; no line is longer


class Broken(FarmletError):
    """The chain does not hold; `where` is the file and line."""


def append(path: Path, event: str, /, **details: Any) -> str:
    """Add a line `{"at", "event", …details, "previous", "hash"}` and return its hash.

    `at` is in seconds since the epoch. Safe among processes; the line is on disk when this returns. Raises OSError,
    Broken if the file's last line is not whole, ValueError for a line over 64 KiB.
    """
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "r+b", buffering=0) as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        record = {"at": round(time.time(), 3), "event": event, **details, "previous": _last(stream.fileno(), path)}
        record["hash"] = _hash(record)
        line = (json.dumps(record, sort_keys=True, ensure_ascii=False) + "\n").encode()
        if len(line) >= BLOCK:
            raise ValueError(f"an audit line of {len(line)} bytes")
        os.write(stream.fileno(), line)
        os.fsync(stream.fileno())
        return str(record["hash"])


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of the log as objects, oldest first; an unverified reading (see `verify`). Raises OSError, Broken."""
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            yield _parse(line, path, number)


def find(path: Path, event: str, since: float = 0.0) -> Iterator[dict[str, Any]]:
    """The lines of one event from `since` (seconds since the epoch) on, oldest first; none if there is no log yet.

    Only lines that hold the event's name are parsed, so that a page can ask. Raises OSError, Broken.
    """
    if not path.exists():
        return
    wanted = f'"event": {json.dumps(event)}'.encode()
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            if wanted in line and (record := _parse(line, path, number))["event"] == event and record["at"] >= since:
                yield record


def verify(path: Path) -> int:
    """The number of lines of an unbroken log. Raises Broken naming the first line that does not fit, or OSError."""
    previous, number = GENESIS, 0
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            try:
                record = json.loads(line)
                claimed = record.pop("hash")
            except (ValueError, KeyError, AttributeError) as error:
                raise Broken(f"{path}:{number}", "not a line of an audit log") from error
            if record.get("previous") != previous:
                raise Broken(f"{path}:{number}", "does not follow the line before it: one was removed or added")
            if _hash(record) != claimed or not line.endswith(b"\n"):
                raise Broken(f"{path}:{number}", "was changed after it was written")
            previous = claimed
    return number


def _parse(line: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(line)
    except ValueError as error:
        raise Broken(f"{path}:{number}", "not a line of an audit log") from error
    return record


def _hash(record: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _last(handle: int, path: Path) -> str:
    """The hash of the last line; GENESIS for an empty file."""
    size = os.fstat(handle).st_size
    if size == 0:
        return GENESIS
    tail = os.pread(handle, BLOCK, max(0, size - BLOCK))
    try:
        if not tail.endswith(b"\n"):
            raise ValueError("no end of line")
        return str(json.loads(tail[:-1].rpartition(b"\n")[2])["hash"])
    except (ValueError, KeyError, TypeError) as error:
        raise Broken(str(path), "its last line is not whole", "keep the file for inspection and start a new one") from error
