"""A facility as its tests see it, and what this host looks like without any."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

FARMLET = [sys.executable, "-m", "farmlet.cli.main"]
UP_SECONDS = 1500
# The three that most tests share: one where nothing is disturbed, one that is disturbed, one whose file is edited.
DOMAINS = {"test": "facility.test", "harm": "harm.test", "edit": "edit.test"}

# A test run started in the background ignores interrupts, and so would all it starts: some tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


PATIENCE = 3  # several facilities come up beside a test: whoever waits does so for what comes, and not to measure


def until(condition: Callable[[], object], seconds: float) -> float:
    """Seconds until the condition was true. `seconds`: how long it may take on an idle machine.

    What takes long to ask is asked less often: a log-in or a `farmlet` a second would keep a core from all other lanes.
    """
    began = asked = time.monotonic()
    while not condition():
        took = time.monotonic() - asked
        assert time.monotonic() - began < seconds * PATIENCE, f"not within {PATIENCE} times {seconds} s"
        time.sleep(min(max(0.5, 3 * took), 5))
        asked = time.monotonic()
    return time.monotonic() - began


@dataclass
class Sandbox:
    """A facility in a folder of its own."""

    folder: Path
    name: str
    domain: str
    report: Any = None  # what its first `up` told

    def start(self, *words: str, **options: Any) -> subprocess.Popen[str]:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
        return subprocess.Popen([*FARMLET, *words], cwd=self.folder, **(pipes | options))

    def run(self, *words: str, code: int | None = 0, seconds: float = UP_SECONDS) -> subprocess.CompletedProcess[str]:
        """`farmlet WORDS`; fails the test with everything it said when it exits otherwise than `code`."""
        done = subprocess.run([*FARMLET, *words], cwd=self.folder, capture_output=True, text=True, timeout=seconds)
        if code is not None and done.returncode != code:
            pytest.fail(f"farmlet {' '.join(words)} exited {done.returncode}, not {code}\n{done.stdout}\n{done.stderr}")
        return done

    def json(self, *words: str, code: int | None = 0) -> Any:
        return json.loads(self.run(*words, "--json", code=code).stdout)

    def exec(self, node: str, script: str) -> str:
        """Standard output of a root shell on a node, by Docker: ten times as quick as `farmlet node exec`."""
        done = subprocess.run(["docker", "exec", self.container(node), "sh", "-c", script], capture_output=True, text=True)
        if done.returncode:
            pytest.fail(f"on {node}: {script}\nexited {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done.stdout.strip()

    @cached_property
    def ca(self) -> str:
        """Where the facility's authority lies."""
        # whatever else is the matter just now
        return str(json.loads(self.run("status", "--json", code=None).stdout)["ca"])

    def container(self, node: str) -> str:
        return f"farmlet-{self.name}-{node}"


def kill_group(process: subprocess.Popen[str], number: signal.Signals) -> None:
    """A signal to a command and all it started."""
    os.killpg(process.pid, number)
    process.communicate(timeout=60)
