"""Rotating the signing keys: calmly, so that no live token is ever refused, or at once, when a key may be known to others.

A key's life: made and published → after an hour, or what the slowest element of the facility takes to know it, it signs →
after 90 days a younger one is made, and so much later signs → published until the last token it signed has ended → deleted.
All of it follows from the files' names, so each step is done whenever it is due and may be repeated.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from farmlet.parts.identity.service.keys.keys import PUBLISHED_FIRST, Ring, Slot, ensure_keys, find_signing, make_key, scan
from farmlet.runtime.files import remove
from farmlet.runtime.tokens import ALGORITHMS

ROTATE_AFTER = 90 * 86400  # seconds until a key gets a successor
LEEWAY = 60  # seconds between clocks: the last token of a key is verified so long after its end


def rotate(folder: Path, lifetime: int, *, begin: bool = False, now: float | None = None, ahead: int = PUBLISHED_FIRST) -> None:
    """Do what is due; with `begin` make successors now, unless there are some that wait already.

    `lifetime`: seconds the longest token lives; `ahead`: those for which a key is published before it signs.
    """
    with _locked(folder):
        moment = time.time() if now is None else now
        ensure_keys(folder, moment)
        slots = scan(folder)
        for slot, after in _succeed(slots):
            if after is not None and after.ripe(ahead) + lifetime + LEEWAY < moment:
                remove(slot.path)
        for algorithm in ALGORITHMS:
            signing = find_signing(slots, algorithm, moment, ahead)
            waits = any(slot.algorithm == algorithm and slot.ripe(ahead) > moment for slot in slots if slot != signing)
            if signing and not waits and (begin or signing.made + ROTATE_AFTER <= moment):
                make_key(folder, algorithm, moment)


def replace(folder: Path) -> None:
    """New keys, which sign at once, and no others: what older ones signed is refused as soon as those who verify know."""
    with _locked(folder):
        old = scan(folder)
        for algorithm in ALGORITHMS:
            make_key(folder, algorithm)
        for slot in old:
            remove(slot.path)


def describe(ring: Ring, lifetime: int, now: float | None = None) -> list[dict[str, Any]]:
    """Each key's id, algorithm, when it was made, and its state: it `signs`, comes `next`, is `old`; until or from when."""
    moment = time.time() if now is None else now
    keys, ahead = ring.held(), ring.ahead
    signing = [find_signing(list(keys), algorithm, moment, ahead) for algorithm in ALGORITHMS]
    shown: list[dict[str, Any]] = []
    for slot, after in _succeed(list(keys)):
        item = {"kid": keys[slot].kid, "algorithm": slot.algorithm, "made": _date(slot.made)}
        if slot in signing:
            item |= {"state": "signs"} | ({"until": _date(after.ripe(ahead))} if after else {})
        elif after is None or after.ripe(ahead) > moment:
            item |= {"state": "next", "from": _date(slot.ripe(ahead))}
        else:
            item |= {"state": "old", "until": _date(after.ripe(ahead) + lifetime + LEEWAY)}
        shown.append(item)
    return shown


def _succeed(slots: Sequence[Slot]) -> Iterator[tuple[Slot, Slot | None]]:
    """Each key with the next younger one of its kind."""
    for index, slot in enumerate(slots):
        yield slot, next((other for other in slots[index + 1 :] if other.algorithm == slot.algorithm), None)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """The timer and an administrator may come at once."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()
