"""What the members are told about their credentials: a note beside the `.top`. Standard library only.

`SERVICE.refused`: it is over, and was taken away. `SERVICE.waits`: its issuer gives nothing until its member has done something
there; the credential stays, and goes on by itself. Both are JSON {"words", "reason", "at"}: `words` are a sentence for a person
at a log-in, `reason` is part of the one that a job is held with. What an issuer says is cut down to one line of plain letters.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path

from farmlet.runtime.files import write

REFUSED, WAITS = ".refused", ".waits"
LIMIT = 64 * 1024  # bytes of a note
LONGEST = 300  # characters of a reason
PROGRAM = "farmlet-credential"


def refuse(top: Path, reason: str, owner: tuple[int, int]) -> Path:
    """Leave word that what is stored as `top` is over. Raises OSError."""
    reason = clean(reason)
    words = f"what you stored for your jobs and sessions is worth nothing any more ({reason}); store it anew: {PROGRAM}"
    return _leave(top.with_suffix(REFUSED), words, reason, owner)


def wait(top: Path, reason: str, owner: tuple[int, int]) -> bool:
    """Leave word that `top` waits for its member; False if that was told before. Raises OSError."""
    note, reason = top.with_suffix(WAITS), clean(reason)
    if read(note).get("reason") == reason:
        return False
    _leave(note, f"no token for your jobs and sessions until then: {reason}", reason, owner)
    return True


def forget(top: Path) -> None:
    """Tokens are given again. Raises OSError."""
    for kind in (REFUSED, WAITS):
        top.with_suffix(kind).unlink(missing_ok=True)


def read(note: Path) -> Mapping[str, str]:
    """What a note says; nothing where there is none that can be read."""
    try:
        with note.open("rb") as stream:
            found = json.loads(stream.read(LIMIT))
        return {key: clean(str(found.get(key, "")), 2 * LONGEST) for key in ("words", "reason")}
    except (OSError, ValueError, AttributeError, RecursionError):
        return {}


def tell(top: Path) -> str:
    """What to tell the member of `top` at a log-in; "" for nothing."""
    return read(find(top)).get("words", "")


def find(top: Path) -> Path:
    """The note that counts, if it is there: of a credential that is stored, or of one that was."""
    return top.with_suffix(WAITS if top.exists() else REFUSED)


def clean(text: str, longest: int = LONGEST) -> str:
    """On one line, without what a terminal or a script of the log-in shell may take for more than letters."""
    plain = " ".join(text.split()).translate({ord('"'): "'", ord("\\"): "/"})
    plain = "".join(letter for letter in plain if letter.isprintable())
    return plain if len(plain) <= longest else f"{plain[: longest - 1]}…"


def _leave(note: Path, words: str, reason: str, owner: tuple[int, int]) -> Path:
    at = time.strftime("%FT%TZ", time.gmtime())
    # `words` come first, and letters are as they are: the script of the log-in finds them so (templates/session.sh)
    write(note, json.dumps({"words": words, "reason": reason, "at": at}, ensure_ascii=False).encode(), 0o600, owner)
    os.utime(note)
    return note
