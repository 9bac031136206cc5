"""What checks on nodes have in common. A check returns its evidence, one line, or raises `Failed` with it.

They run in the node agent, so: standard library only, no waiting beyond a few seconds, nothing is changed.
"""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

TIMEOUT = 5.0  # seconds; a whole check has 10, or what its `Check` says
FRESH = 2.0  # seconds for which what systemd said of units holds


class Failed(Exception):
    """What should hold does not; the text is the evidence."""


def run(*command: str) -> str:
    """The standard output of `command`. Raises Failed with the last line it complained in."""
    try:
        # what it says may hold members' words, of any encoding
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=TIMEOUT, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failed(f"{command[0]}: {error}") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise Failed(f"{command[0]} ended with {done.returncode}" + (f": {said[-1]}" if said else ""))
    return done.stdout


class Units:
    """What systemd says of units, in one question for all whose checks begin within `FRESH` seconds: each is a process, and
    work for PID 1, four times a minute for each unit of each node."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, dict[str, str]] = {}
        self._asked = -FRESH

    def show(self, unit: str) -> Mapping[str, str]:
        """The properties of one unit. Raises Failed."""
        with self._lock:
            if unit not in self._known or time.monotonic() - self._asked > FRESH:
                names = [*dict.fromkeys((*self._known, unit))]
                text = run("systemctl", "show", "-pActiveState", "-pSubState", "-pNRestarts", "-pResult", *names)
                blocks = [dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in text.split("\n\n")]
                self._known = dict(zip(names, blocks, strict=True))
                self._asked = time.monotonic()
            return self._known[unit]


UNITS = Units()


def check_unit(unit: str) -> str:
    """The systemd unit is active, and has not been restarted over and over."""
    shown = UNITS.show(unit)
    state = f"{shown.get('ActiveState')} ({shown.get('SubState')})"
    if shown.get("ActiveState") not in ("active", "reloading"):  # the latter serves, and is active for systemctl too
        raise Failed(f"{unit} is {state}, last result {shown.get('Result')}")
    return f"{unit} is {state}, restarted {shown.get('NRestarts', '0')} times"


def check_certificate(path: str, days: int = 10) -> str:
    """The X.509 certificate at `path` is valid for at least `days` more."""
    try:
        end = read_end(path, Path(path).stat().st_mtime_ns)
    except OSError as error:
        raise Failed(f"{path} is missing") from error
    left = datetime.fromtimestamp(end, UTC) - datetime.now(UTC)
    evidence = f"{path} is valid for {left.days} more days"
    if left.days < days:
        raise Failed(f"{evidence}, fewer than {days}")
    return evidence


@lru_cache(maxsize=64)
def read_end(path: str, changed: int) -> int:
    """The end of a certificate, seconds since 1970; read once for each time that the file `changed`. Raises Failed."""
    end = run("openssl", "x509", "-in", path, "-noout", "-enddate").strip().removeprefix("notAfter=")
    return ssl.cert_time_to_seconds(end)


def check_port(host: str, port: int) -> str:
    """Someone accepts TCP connections at `host`:`port`."""
    try:
        with socket.create_connection((host, port), timeout=TIMEOUT):
            return f"{host}:{port} accepts connections"
    except OSError as error:
        raise Failed(f"{host}:{port}: {error}") from error


def check_file(path: str) -> str:
    """The file is there and not empty."""
    try:
        size = Path(path).stat().st_size
    except OSError as error:
        raise Failed(f"{path}: {error.strerror}") from error
    if not size:
        raise Failed(f"{path} is empty")
    return f"{path} has {size} bytes"
