"""Runs the checks of a node, each within its own deadline. Standard library only."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from farmlet.parts.base.tasks import Call
from farmlet.runtime.checks import Failed

BESIDE = 4  # checks that run at the same time
LONGEST = 2000  # characters of evidence
PATIENCE = 3.0  # seconds after which the next check begins beside one that is slow


class Attempt:
    """One run of a check, in a thread of its own: a check that hangs cannot be ended, only left behind."""

    def __init__(self, check: Call) -> None:
        self._check = check
        self._thread = threading.Thread(target=self._run, daemon=True, name=f"check {check.name}")
        self._result: dict[str, Any] | None = None
        self._thread.start()

    def _run(self) -> None:
        start = time.monotonic()
        try:
            ok, evidence = True, str(self._check.resolve()(**self._check.args))
        except Failed as failed:
            ok, evidence = False, str(failed)
        except Exception as error:  # a broken check is a finding too
            ok, evidence = False, f"{type(error).__name__}: {error}"
        self._result = _result(self._check, ok, evidence, time.monotonic() - start)

    def wait(self, seconds: float) -> dict[str, Any] | None:
        """The result, as soon as there is one; None if there is none after `seconds`."""
        self._thread.join(max(0.0, seconds))
        return self._result


class Examiner:
    """Runs checks side by side, each with its own deadline. One that hangs costs no other check anything: it fails, and is
    not started again before it has ended."""

    def __init__(self) -> None:
        self._slots = threading.Semaphore(BESIDE)
        self._hanging: dict[str, Attempt] = {}

    def examine(self, checks: Sequence[Call]) -> list[dict[str, Any]]:
        """Results as the control API takes them; `at` is seconds since 1970, `seconds` how long the check took."""
        if not checks:
            return []
        with ThreadPoolExecutor(max_workers=len(checks), thread_name_prefix="examine") as pool:
            return list(pool.map(self._examine, checks))

    def _examine(self, check: Call) -> dict[str, Any]:
        late = self._hanging.pop(check.name, None)
        if late and late.wait(0) is None:
            self._hanging[check.name] = late
            return _result(check, False, f"still no answer, though it had {check.seconds:g} s: it hangs", check.seconds)
        with self._slots:
            attempt = Attempt(check)
            found = attempt.wait(min(PATIENCE, check.seconds))
        found = found or attempt.wait(check.seconds - PATIENCE)
        if found is None:
            self._hanging[check.name] = attempt
            return _result(check, False, f"no answer within {check.seconds:g} s", check.seconds)
        return found


def show(evidence: str) -> str:
    """Evidence as people can be shown it: names of files and of jobs are members' words, and go to an admin's terminal."""
    words = "".join(letter if letter.isprintable() else "\ufffd" for letter in evidence.strip().replace("\n", " "))
    return words if len(words) <= LONGEST else f"{words[:LONGEST]}…"


def _result(check: Call, ok: bool, evidence: str, seconds: float) -> dict[str, Any]:
    return {
        "check": check.name,
        "ok": ok,
        "evidence": show(evidence),
        "seconds": round(seconds, 3),
        "at": round(time.time(), 1),
    }
