"""Lists that grow with the number of members: JSON, a row on each line, so that nobody needs to hold them parsed as a whole.

A node's agent is to stay small with ten thousand members.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

FIRST_UID = 1000  # below are a host's own accounts, whatever a facility says (Debian policy §9.2.2)


def dump(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """A JSON list of objects, one a line."""
    lines = [json.dumps(row).encode() for row in rows]
    return b"\n".join((b"[", b",\n".join(lines), b"]", b""))


def read(data: bytes) -> Iterator[dict[str, Any]]:
    """The rows of what `dump` wrote, one after another; any other JSON list is read at once. Raises ValueError."""
    if not data.startswith(b"[\n"):
        yield from json.loads(data)
        return
    for line in io.BytesIO(data):
        text = line.strip().removesuffix(b",")
        if text not in (b"[", b"]", b""):
            yield json.loads(text)


def read_members(data: bytes, first_uid: int) -> Iterator[dict[str, Any]]:
    """The rows of accounts whose `uid` can be a member's, which is `first_uid` or more: whatever the list says, nobody acts on
    the others. Raises ValueError."""
    return (row for row in read(data) if int(row["uid"]) >= first_uid)
