"""A command on a node with this process's own streams: its exit status is the answer, and an interrupt here ends it there."""

from __future__ import annotations

import contextlib
import secrets
import subprocess
from collections.abc import Sequence

from farmlet.engine.nodes.driver import Shell
from farmlet.errors import FarmletError

# ssh without a terminal carries no signal: what the mark in its environment shows to belong to the command is ended
END = """
find() { grep -lszxF "$1" /proc/[0-9]*/environ | cut -d/ -f3; }
kill -TERM $(find "$1") 2>/dev/null
for _ in 1 2 3 4 5 6 7 8 9 10; do [ -n "$(find "$1")" ] || exit 0; sleep 0.2; done
kill -KILL $(find "$1") 2>/dev/null
exit 0
"""


def attach(shell: Shell, command: Sequence[str], keep: bool = False) -> tuple[int, str, str]:
    """Run `command` there, for as long as it takes: its exit status, and with `keep` its output and errors as text.

    Whatever ends this process's waiting, an interrupt say, ends the command with all that it started.
    """
    mark = f"FARMLET_EXEC={secrets.token_hex(8)}"
    stream = subprocess.PIPE if keep else None
    with subprocess.Popen(shell.argv(["env", mark, *command]), stdout=stream, stderr=stream) as process:
        try:
            out, err = process.communicate()
        except BaseException:
            process.terminate()
            with contextlib.suppress(FarmletError):  # it does not answer any more: nobody can end it now
                shell.run(["sh", "-c", END, "sh", mark], timeout=20)
            raise
    code = process.returncode if process.returncode >= 0 else 128 - process.returncode  # as shells tell a signal
    return code, (out or b"").decode(errors="replace"), (err or b"").decode(errors="replace")
