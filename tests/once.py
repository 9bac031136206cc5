"""What the processes of one test run share: a folder, and things that only the first of them does."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

VARIABLE, PREFIX = "FARMLET_TEST_RUN", "farmlet-test-run-"
ALIVE = "alive"
held: list[int] = []  # this run's own lock


def open_run() -> None:
    """A folder for this run, which the processes that it starts know of. It is locked for as long as the run lives."""
    os.environ[VARIABLE] = tempfile.mkdtemp(prefix=PREFIX)
    held.append(os.open(folder() / ALIVE, os.O_CREAT | os.O_WRONLY, 0o600))
    fcntl.flock(held[0], fcntl.LOCK_EX)


def close_run() -> None:
    shutil.rmtree(folder(), ignore_errors=True)
    os.close(held.pop())


def folder() -> Path:
    return Path(os.environ[VARIABLE])


def is_of_a_dead_run(path: Path) -> bool:
    """Whether a folder is in one that a run of these tests made which has ended, killed perhaps, without removing it."""
    run = next((parent for parent in path.parents if parent.name.startswith(PREFIX)), None)
    if run is None or not path.is_relative_to(tempfile.gettempdir()):
        return False
    try:
        with (run / ALIVE).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return True
    except BlockingIOError:
        return False
    return True


@contextmanager
def alone(name: str) -> Iterator[None]:
    """No other process of this run does what has that name meanwhile."""
    with (folder() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def once(name: str, make: Callable[[], Any]) -> Any:
    """What `make` answered, by way of JSON. The first that asks calls it, the others wait; when it fails, it fails for all."""
    kept = folder() / f"{name}.json"
    with alone(name):
        if not kept.exists():
            try:
                found = {"answer": make()}
            except BaseException as error:
                kept.write_text(json.dumps({"error": f"{type(error).__name__}: {error}"}))
                raise
            kept.write_text(json.dumps(found))
        found = json.loads(kept.read_text())
    if "error" in found:
        pytest.fail(f"{name} has failed: {found['error']}")
    return found["answer"]
