"""What holds for every test."""

from __future__ import annotations

import signal

# A test run started in the background ignores interrupts, and so would all it starts: some tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
