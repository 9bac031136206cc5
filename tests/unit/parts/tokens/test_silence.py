"""The credential monitor and issuers that do not answer, or whose answers are lost."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rotation import Issuer, count_tokens, crowd, held, store

from farmlet.parts.tokens import credmon, renewer, source
from farmlet.parts.tokens.source import Issuers


def sweep_until(monitor: credmon.Monitor, holds: Callable[[], bool]) -> None:
    """Pass after pass: on a busy machine an answer may come too late once more."""
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end
        monitor.sweep()
        time.sleep(0.05)


def test_an_issuer_that_hangs_takes_little_time_from_the_others(
    tmp_path: Path, issuer: Issuer, other: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "SILENCE", (0.4, 0.8))
    crowd(tmp_path, issuer, 200)
    crowd(tmp_path, other, 60)
    issuer.awake.clear()
    monitor = credmon.Monitor(tmp_path, Issuers([issuer.url, other.url], timeout=0.2))
    monkeypatch.setattr(credmon, "SLICE", 0.1)  # as short beside the time-out as it is in earnest
    begin, passes = time.monotonic(), 0
    while count_tokens(tmp_path, other) < 60:
        assert time.monotonic() - begin < 30
        monitor.sweep(scan=passes == 0)
        passes += 1
    # each question in vain takes its time, and each pause is as long at least
    took = time.monotonic() - begin
    assert issuer.questions <= 1 + took / 0.5 and not count_tokens(tmp_path, issuer)
    # what is stored while it is silent is asked for soon, and what is due at others at once
    before, late = issuer.questions, store(tmp_path, issuer.url, "alice.0")
    store(tmp_path, other.url, "bob.0")
    sweep_until(monitor, (tmp_path / "bob" / "farmlet.use").exists)
    issuer.awake.set()
    sweep_until(monitor, late.with_suffix(".use").exists)
    assert issuer.questions > before


def test_an_issuer_that_is_back_is_asked_for_all_again_within_seconds(
    tmp_path: Path, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert max(source.SILENCE) * 1.2 < 10
    monkeypatch.setattr(source, "SILENCE", (0.1, 0.2))
    crowd(tmp_path, issuer, 50)
    issuer.awake.clear()
    monitor = credmon.Monitor(tmp_path, Issuers([issuer.url], timeout=0.1))
    for _ in range(10):
        monitor.sweep()
        time.sleep(0.1)
    issuer.awake.set()
    sweep_until(monitor, lambda: count_tokens(tmp_path, issuer) == 50)


def test_who_stores_anew_waits_for_the_shortest_pause_only(
    tmp_path: Path, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "SILENCE", (60.0, 60.0))
    top = store(tmp_path, issuer.url, "alice.0")
    monitor = credmon.Monitor(tmp_path, Issuers([issuer.url], timeout=0.2))
    issuer.awake.clear()
    monitor.sweep()
    issuer.awake.set()
    monkeypatch.setattr(source, "SILENCE", (0.0, 60.0))
    monitor.sweep()
    assert not top.with_suffix(".use").exists(), "nobody waits for it"
    store(tmp_path, issuer.url, "alice.0")
    monitor.sweep()
    assert top.with_suffix(".use").exists()


@pytest.mark.parametrize("back", [True, False])
def test_what_may_have_been_taken_is_asked_again_soon_and_first(
    tmp_path: Path, issuer: Issuer, monkeypatch: pytest.MonkeyPatch, back: bool
) -> None:
    """The issuer has replaced the refresh token, and forgives that it comes again for a short while only."""
    monkeypatch.setattr(renewer, "BACKOFF", (40.0, 60.0))
    monkeypatch.setattr(source, "SILENCE", (0.1, 0.3))
    top = store(tmp_path, issuer.url, "alice.0")
    monitor = credmon.Monitor(tmp_path, Issuers([issuer.url], timeout=0.2))
    issuer.after = lambda: time.sleep(0.5)
    monitor.sweep()
    crowd(tmp_path, issuer, 20)
    issuer.after, issuer.live["alice"] = lambda: None, 0  # it forgives
    if not back:
        issuer.awake.clear()
        for _ in range(8):
            time.sleep(0.1)
            monitor.sweep()
        # it does not say where tokens are given: none is shown to it, however long it takes
        assert issuer.asked == ["alice.0"] and issuer.questions > 3
        issuer.awake.set()
    time.sleep(0.4)
    monitor.sweep()
    assert issuer.asked[:2] == ["alice.0", "alice.0"] and held(top) == "alice.1"
    sweep_until(monitor, lambda: count_tokens(tmp_path, issuer) == 20)


def test_one_that_is_lost_each_time_does_not_keep_others_of_its_issuer_waiting(
    tmp_path: Path, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "SILENCE", (0.02, 0.03))
    store(tmp_path, issuer.url, "alice.0")
    issuer.during = lambda: time.sleep(1.0 if issuer.asked[-1] == "alice.0" else 0)
    monitor = credmon.Monitor(tmp_path, Issuers([issuer.url], timeout=0.5))
    monitor.sweep()
    crowd(tmp_path, issuer, 50)
    sweep_until(monitor, lambda: count_tokens(tmp_path, issuer) == 50)
    assert 1 <= issuer.asked.count("alice.0") <= source.TRIES + 2
