"""What root remembers of an audit log that somebody else writes: how far it was verified, and the hash of the last line there.

So each verification reads only what is new, however long the log is; and lines cut off at the end, or a log that its writer
made anew as a whole, show too, which the log alone cannot tell. What was verified before could have been changed since: once an
hour all of it is verified again, a little at each call.
"""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from farmlet.runtime import audit
from farmlet.runtime.audit import START, Broken, Point
from farmlet.runtime.files import write

NEW_SECONDS, AGAIN_SECONDS = 3.0, 0.5  # what one call takes at most for new lines, and for those verified before
EVERY = 3600.0  # seconds from the beginning of one verification of the whole to that of the next


@dataclass
class State:
    """`end`: up to there the log was verified; `again`: and so far once more; `begun`, `whole`: when the verification of the
    whole that goes on, and the last one that came to its end, began (seconds since the epoch)."""

    end: Point
    again: Point
    begun: float
    whole: float


@dataclass(frozen=True)
class Verified:
    """`lines` of the log fit to each other, `left` bytes are not looked at yet; each line was verified at `whole` or later."""

    lines: int
    left: int
    whole: float


class Checkpoint:
    """The checkpoint of `log` in the file `path`, whose folder must be nobody's but root's."""

    def __init__(self, log: Path, path: Path, new: float = NEW_SECONDS, again: float = AGAIN_SECONDS) -> None:
        self._log, self._path = log, path
        self._new, self._again = new, again

    def verify(self) -> Verified:
        """Verify what is new, for a few seconds at most, and a part of what is not. Raises Broken, OSError.

        What does not fit is told again by every later call, until it fits.
        """
        with self._path.with_suffix(".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            state = self._load()
            try:
                return self._verify(state)
            finally:
                write(self._path, json.dumps(asdict(state)).encode(), 0o600)

    def _load(self) -> State:
        if not self._path.exists():
            return State(START, START, time.time(), time.time())
        try:
            found = json.loads(self._path.read_text())
            return State(Point(*found["end"]), Point(*found["again"]), float(found["begun"]), float(found["whole"]))
        except (ValueError, KeyError, TypeError) as error:
            raise Broken(
                str(self._path), f"is no checkpoint: {error}", "remove it: the log is verified from its start"
            ) from error

    def _verify(self, state: State) -> Verified:
        size = audit.measure(self._log) if self._log.exists() else 0
        hint = f"where it was restored from a backup, remove {self._path}"
        if size < state.end.bytes:
            raise Broken(str(self._log), f"is shorter than it was: it had {state.end.lines} lines; {hint}")
        if not audit.is_there(self._log, state.end):
            raise Broken(f"{self._log}:{state.end.lines}", f"is another line than it was, or at another place; {hint}")
        if size > state.end.bytes:
            for point in _hasten(self._log, state.end, size, self._new):
                state.end = point
        self._verify_again(state)
        return Verified(state.end.lines, size - state.end.bytes, state.whole)

    def _verify_again(self, state: State) -> None:
        if state.again == START:
            if time.time() - state.begun < EVERY:
                return
            state.begun = time.time()
        for point in _hasten(self._log, state.again, state.end.bytes, self._again):
            state.again = point
        if state.again.bytes >= state.end.bytes:
            state.again, state.whole = START, state.begun


def _hasten(log: Path, start: Point, size: int, seconds: float) -> Iterator[Point]:
    """`audit.walk`, for `seconds` at most; one line at least."""
    end = time.monotonic() + seconds
    for point in audit.walk(log, start, size):
        yield point
        if time.monotonic() > end:
            return
