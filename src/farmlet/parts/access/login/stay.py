"""Renewal without a person: at each ssh (`--fresh`), or by a process that stays (`--keep`)."""

from __future__ import annotations

import contextlib
import random
import sys
import time
from collections.abc import Callable

from farmlet.errors import FarmletError
from farmlet.parts.access.login import discovery, state
from farmlet.parts.access.login.places import Place
from farmlet.parts.access.login.state import PATIENCE, State

SHORTEST, LONGEST = 5.0, 300.0  # seconds from an attempt that failed to the next


def freshen(place: Place, patient: bool = True) -> State:
    """Renew what is due, if anything. `patient`: not so soon after an attempt that failed while all is good still.

    Raises FarmletError in words. Nothing of the network is imported where nothing is due.
    """
    known, now = state.load(place), time.time()
    if not state.find_due(place, known, now) or (patient and _waits(known, now)):
        discovery.publish(place, known)
        return known
    from farmlet.parts.access.login import renew, words

    again = f"farmlet login {place.name}"
    with state.locked(place):
        known = state.load(place)  # another process may just have done it
        due = state.find_due(place, known, time.time())
        if due and not known.refresh_token:
            raise FarmletError(place.name, "the log-in has ended", f"log in anew: {again}")
        try:
            return renew.renew(place, known, due)
        except FarmletError as error:
            with contextlib.suppress(OSError):
                state.save(place, state.load(place), tried=time.time())
            raise words.explain(error, again, known) from error


def _waits(known: State, now: float) -> bool:
    good = all(now < span.end for span in known.spans.values())
    return good and known.refresh_token != "" and abs(now - known.tried) < PATIENCE


def fresh(place: Place) -> int:
    """For ssh_config: says nothing where nothing is wrong, one line where something is, and lets ssh go on always."""
    try:
        freshen(place)
    except (FarmletError, OSError) as error:
        text = f"{error.what}; {error.hint}" if isinstance(error, FarmletError) else str(error)
        print(f"farmlet: {place.name}: {text}".rstrip("; "), file=sys.stderr)
    return 0


def keep(place: Place, sleep: Callable[[float], None] = time.sleep) -> int:
    """Stay and renew, until the log-in ends. Raises FarmletError then."""
    pause = SHORTEST
    while True:
        try:
            known = freshen(place, patient=False)
        except FarmletError as error:
            if not place.state.exists() or not state.load(place).refresh_token:
                raise
            print(f"{error.where}: {error.what}; next attempt in {pause:.0f} s", file=sys.stderr, flush=True)
            sleep(pause * random.uniform(0.8, 1.2))
            pause = min(2 * pause, LONGEST)
            continue
        pause = SHORTEST
        sleep(find_pause(known, time.time()))


def find_pause(known: State, now: float, spread: Callable[[float, float], float] = random.uniform) -> float:
    """Seconds to the next renewal: 2/3 of a lifetime, and up to a tenth of it later, so that not all come at once."""
    first = min(known.spans.values(), key=lambda span: span.start + (span.end - span.start) * state.RENEW)
    length = first.end - first.start
    return max(1.0, first.start + length * state.RENEW + spread(0, length / 10) - now)
