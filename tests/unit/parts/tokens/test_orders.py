"""A credential that is stored, or taken back, at the very moment at which the monitor stores what came of the one before."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rotation import Issuer, held, store, watch

from farmlet.parts.tokens import renewer
from farmlet.runtime import files

# what the monitor writes at a renewal, in this order
TOP, USE = 1, 2
KILLED = """
import os, signal, sys
from pathlib import Path
from rotation import store, watch
from farmlet.parts.tokens import credmon
from farmlet.parts.tokens.source import Issuers
root, url, moment, first = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4] == "True"
real, count = os.fsync, 0
def fsync(handle):
    global count
    real(handle)
    count += 1
    if count == moment:
        if first:
            store(root, url, "bob.0", "alice")
        os.kill(os.getpid(), signal.SIGKILL)
os.fsync = fsync
credmon.Monitor(root, Issuers([url])).sweep()
"""


def strike(monkeypatch: pytest.MonkeyPatch, moment: int, then: Callable[[], object]) -> None:
    """Do something when that file has been written, and is not there yet."""
    real, count = os.fsync, 0

    def fsync(handle: int) -> None:
        nonlocal count
        real(handle)
        count += 1
        if count == moment:
            then()

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.parametrize("moment", [TOP, USE])
def test_stored_while_the_monitor_stores_wins(
    tmp_path: Path, issuer: Issuer, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    top = store(tmp_path, issuer.url, "alice.0")
    strike(monkeypatch, moment, lambda: store(tmp_path, issuer.url, "bob.0", "alice"))
    monitor = watch(tmp_path, issuer)
    monitor.sweep()
    assert held(top) == "bob.0"
    monitor.sweep()
    assert held(top) == "bob.1" and top.with_suffix(".use").exists()
    assert [path.name for path in sorted(top.parent.iterdir())] == ["farmlet.top", "farmlet.use"]


def test_taken_back_while_the_monitor_stores_stays_away(tmp_path: Path, issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    top = store(tmp_path, issuer.url, "alice.0")
    strike(monkeypatch, TOP, top.unlink)
    monitor = watch(tmp_path, issuer)
    monitor.sweep()
    monitor.sweep()
    assert not list(top.parent.iterdir())
    store(tmp_path, issuer.url, "bob.0", "alice")
    monitor.sweep()
    assert held(top) == "bob.1"


@pytest.mark.parametrize("back", [True, False])
def test_stored_or_taken_back_while_the_monitor_notes_a_refusal(
    tmp_path: Path, issuer: Issuer, monkeypatch: pytest.MonkeyPatch, back: bool
) -> None:
    top = store(tmp_path, issuer.url, "alice.5")
    strike(monkeypatch, 1, top.unlink if back else lambda: store(tmp_path, issuer.url, "bob.0", "alice"))
    monitor = watch(tmp_path, issuer)
    monitor.sweep()
    assert [path.name for path in top.parent.iterdir()] == ([] if back else ["farmlet.top"])
    monitor.sweep()
    assert top.with_suffix(".use").exists() is not back


@pytest.mark.parametrize("anew", [True, False])
def test_stored_before_the_token_of_the_old_one_is_there_is_used_at_once(
    tmp_path: Path, issuer: Issuer, monkeypatch: pytest.MonkeyPatch, anew: bool
) -> None:
    """By a new process too, which knows no more than the files say."""
    top = store(tmp_path, issuer.url, "alice.0")

    def write(path: Path, *rest: object) -> None:
        store(tmp_path, issuer.url, "bob.0", "alice")
        time.sleep(0.05)
        files.write(path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(renewer, "write", write)
    monitor = watch(tmp_path, issuer)
    monitor.sweep()
    assert held(top) == "bob.0"
    monkeypatch.setattr(renewer, "write", files.write)
    (watch(tmp_path, issuer) if anew else monitor).sweep()
    assert issuer.asked == ["alice.0", "bob.0"] and held(top) == "bob.1"


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("moment", [TOP, USE])
def test_killed_while_it_stores_the_newer_one_wins(tmp_path: Path, issuer: Issuer, moment: int, first: bool) -> None:
    """`first`: whether the member stored before the monitor was killed."""
    top = store(tmp_path, issuer.url, "alice.0")
    command = [sys.executable, "-c", KILLED, str(tmp_path), issuer.url, str(moment), str(first)]
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    if not first:
        store(tmp_path, issuer.url, "bob.0", "alice")
    assert held(top) == "bob.0"
    watch(tmp_path, issuer).sweep()
    assert held(top) == "bob.1" and top.with_suffix(".use").exists()
