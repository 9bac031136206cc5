"""What a person sees while the facility waits for their consent. All of it on standard error; segno draws, if it is there."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from importlib import import_module

from farmlet.runtime.oauth import Started


def show(started: Started, qr: bool) -> None:
    """The page to open, the code to compare, and both as a QR code where that can be drawn."""
    print("\nOpen this page on any device, sign in, compare the code and allow it:\n", file=sys.stderr)
    print(f"  {started.verification_uri_complete}\n  code: {started.user_code}\n", file=sys.stderr, flush=True)
    if qr and sys.stderr.isatty():
        draw(started.verification_uri_complete)


def draw(text: str) -> None:
    """The QR code of `text`; nothing without the package that makes it."""
    try:
        segno = import_module("segno")
    except ImportError:
        return
    segno.make(text, error="l", micro=False).terminal(out=sys.stderr, compact=True)


def countdown(started: Started, clock: Callable[[], float] = time.monotonic) -> Callable[[float], None]:
    """A `sleep` that tells on a terminal how long the code is good for still."""
    end = clock() + started.expires_in
    drawn = sys.stderr.isatty()

    def sleep(seconds: float) -> None:
        until = clock() + seconds
        while (rest := until - clock()) > 0:
            if drawn:
                left = max(0, int(end - clock()))
                print(f"\r  waiting, {left // 60}:{left % 60:02} left ", end="", file=sys.stderr, flush=True)
            time.sleep(min(1.0, rest))

    return sleep


def clear() -> None:
    """Take the countdown away."""
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr, flush=True)


def confirm(question: str) -> bool:
    """Ask on the terminal; no is no, and so is no terminal."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
