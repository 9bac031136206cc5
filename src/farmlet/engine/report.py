"""What a person sees while nodes change: one line a step, with its seconds, on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from farmlet.engine.apply import Done


class Report:
    """Lines of progress. `verbose` tells each step on each node; otherwise only phases and failures."""

    def __init__(self, stream: TextIO | None = None, verbose: bool = False) -> None:
        self._stream = stream or sys.stderr
        self._verbose = verbose
        self._drawn = self._stream.isatty()
        self._start = time.monotonic()
        self.operations = 0

    def say(self, text: str) -> None:
        print(text, file=self._stream, flush=True)

    @contextmanager
    def phase(self, text: str) -> Iterator[None]:
        """One phase: drawn while it runs on a terminal, then one line with its seconds."""
        start = time.monotonic()
        if self._drawn:
            print(f"  • {text} …", end="", file=self._stream, flush=True)
        try:
            yield
        except BaseException:
            self._end("✗", text, start)
            raise
        self._end("✓", text, start)

    def _end(self, mark: str, text: str, start: float) -> None:
        lead = "\r\033[K" if self._drawn else ""
        print(f"{lead}  {mark} {text} ({time.monotonic() - start:.1f} s)", file=self._stream, flush=True)

    def done(self, done: Done) -> None:
        """A step on a node ended."""
        self.operations += 1
        if self._verbose or not done.ok:
            lead = "\r\033[K" if self._drawn else ""
            mark = "✓" if done.ok else "✗"
            print(f"{lead}    {mark} {done.node}: {done.step} ({done.seconds:.1f} s)", file=self._stream, flush=True)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._start
