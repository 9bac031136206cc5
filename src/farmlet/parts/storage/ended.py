"""Members whose membership here has ended, for the elements of a facility whose issuer is not ours. Standard library only.

Such an issuer gives tokens with groups for a while after the end, and storage goes by groups. So XRootD's module for tokens
gives those members a name of its own by this file, which it reads anew each minute, and the table of groups takes all from it
(`groups`). Tried with XRootD 5.8: a token that was taken before is refused within a minute of the change.
"""

from __future__ import annotations

import json
from pathlib import Path

from farmlet.runtime.files import write
from farmlet.runtime.rows import FIRST_UID, read_members

NAME = "farmlet.ended"  # as XRootD calls them: no UNIX name of anybody's, for it has a dot


def apply(data: bytes, path: str, first_uid: int = FIRST_UID) -> None:
    """What the agent of an element does with the item `accounts`. Raises ValueError, KeyError or OSError."""
    subs = sorted({str(row["sub"]) for row in read_members(data, first_uid) if row["state"] != "active"})
    text = json.dumps([{"sub": sub, "result": NAME} for sub in subs], indent=1).encode() + b"\n"
    target = Path(path)
    if not target.exists() or target.read_bytes() != text:
        write(target, text, 0o644)
