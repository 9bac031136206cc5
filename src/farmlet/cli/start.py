"""Where the command starts: while it is still being read, an interrupt ends it like any program, and shows no traceback."""

from __future__ import annotations

import signal


def main() -> int:
    """`farmlet.cli.main.main`, which tells interrupts in words; one that comes before ends the process."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # and not where it is ignored, as in the background
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from farmlet.cli import main as command

    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return command.main()
