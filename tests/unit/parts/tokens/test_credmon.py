"""The credential monitor against a small real issuer that rotates refresh tokens and refuses reuse."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rotation import Issuer, age, derive, held, store, watch

from farmlet.parts.tokens import checks, credential, credmon, queue, renewer, source
from farmlet.runtime import files
from farmlet.runtime.checks import Failed
from waiting import until


def test_first_token_is_bare_and_the_rotated_one_is_kept(tmp_path: Path, issuer: Issuer) -> None:
    top = store(tmp_path, issuer.url, "alice.0")
    pause = watch(tmp_path, issuer).sweep()
    use = top.with_suffix(".use")
    assert use.read_bytes().count(b".") == 2 and not use.read_bytes().endswith(b"\n")
    assert held(top) == "alice.1"
    assert [path.stat().st_mode & 0o777 for path in (top, use)] == [0o600, 0o600]
    assert (tmp_path / "CREDMON_COMPLETE").exists()
    assert 0 < pause <= credmon.LONGEST


@pytest.mark.parametrize("spent, due", [(0.3, False), (0.42, True)])
def test_renewed_at_a_third_of_its_life_not_before(tmp_path: Path, issuer: Issuer, spent: float, due: bool) -> None:
    top = store(tmp_path, issuer.url, "alice.0")
    issuer.life = int(3600 * (1 - spent))  # what is left now of one hour
    watch(tmp_path, issuer).sweep()
    age(top, spent * 3600)
    monitor = watch(tmp_path, issuer)  # a new process knows no more than the files say
    issuer.life = 3600
    monitor.sweep()
    monitor.sweep()
    assert issuer.asked == (["alice.0", "alice.1"] if due else ["alice.0"])
    assert held(top) == ("alice.2" if due else "alice.1")


def test_looking_old_it_is_renewed_each_time(tmp_path: Path, issuer: Issuer) -> None:
    """What an emergency rotation of the issuer's keys does, twice within a minute."""
    top = store(tmp_path, issuer.url, "alice.0")
    monitor = watch(tmp_path, issuer)
    for number in range(3):
        monitor.sweep()
        assert held(top) == f"alice.{number + 1}"
        os.utime(top.with_suffix(".use"), (0, 0))


def test_trouble_with_the_queue_keeps_no_token_from_being_renewed(tmp_path: Path, issuer: Issuer) -> None:
    def settle() -> bool:
        raise RecursionError("as deep as a member likes")

    top = store(tmp_path, issuer.url, "alice.0")
    monitor = credmon.Monitor(tmp_path, source.Issuers((issuer.url,)), settle=settle)
    assert monitor.sweep() > 0 and held(top) == "alice.1"
    os.utime(top.with_suffix(".use"), (0, 0))
    monitor.sweep()
    assert held(top) == "alice.2"


def test_stored_anew_is_used_at_once(tmp_path: Path, issuer: Issuer) -> None:
    monitor = watch(tmp_path, issuer)
    top = store(tmp_path, issuer.url, "alice.0")
    monitor.sweep()
    issuer.live["alice"] = 7
    time.sleep(0.02)
    store(tmp_path, issuer.url, "alice.7")
    monitor.sweep()
    assert held(top) == "alice.8"


def test_refused_for_good_is_remembered_with_its_reason(tmp_path: Path, issuer: Issuer) -> None:
    top = store(tmp_path, issuer.url, "alice.5")
    watch(tmp_path, issuer).sweep()
    assert "invalid_grant" in json.loads(top.with_suffix(".refused").read_text())["reason"]
    assert not top.exists()  # condor_store_cred's query says so, and the member is asked anew
    watch(tmp_path, issuer).sweep()
    assert issuer.asked == ["alice.5"]  # not asked again, not even by a new process
    store(tmp_path, issuer.url, "alice.0")
    watch(tmp_path, issuer).sweep()
    assert top.with_suffix(".use").exists() and not top.with_suffix(".refused").exists()


@pytest.mark.parametrize("fault", [(503, "busy"), (429, "slow_down")])
def test_silence_is_no_verdict(tmp_path: Path, issuer: Issuer, fault: tuple[int, str]) -> None:
    top = store(tmp_path, issuer.url, "alice.0")
    monitor = watch(tmp_path, issuer)
    issuer.fault = fault
    assert monitor.sweep() < 5
    monitor.sweep()
    assert issuer.asked == ["alice.0"]  # backed off
    assert held(top) == "alice.0" and not top.with_suffix(".refused").exists()
    issuer.fault = None
    watch(tmp_path, issuer).sweep()
    assert held(top) == "alice.1"


def test_rotated_token_survives_a_disk_that_does_not_take_it(
    tmp_path: Path, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = store(tmp_path, issuer.url, "alice.0")
    monitor = watch(tmp_path, issuer)
    monkeypatch.setattr(renewer, "BACKOFF", (0.01, 0.02))
    real = files.write
    full = {"disk": True}

    def write(path: Path, *args: object) -> None:
        if full["disk"] and ".top" in path.name:
            raise OSError(28, "No space left on device")
        real(path, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(source, "write", write)
    monitor.sweep()
    assert held(top) == "alice.0" and not top.with_suffix(".use").exists()
    full["disk"] = False
    time.sleep(0.1)
    monitor.sweep()
    # the one of the first answer was not lost: the issuer took it
    assert issuer.asked == ["alice.0", "alice.1"] and held(top) == "alice.2"
    assert top.with_suffix(".use").exists()


def test_stored_while_the_issuer_answers_wins(tmp_path: Path, issuer: Issuer) -> None:
    top = store(tmp_path, issuer.url, "alice.0")
    issuer.during = lambda: top.write_text(top.read_text().replace("alice.0", "bob.0"))
    monitor = watch(tmp_path, issuer)
    monitor.sweep()
    assert held(top) == "bob.0" and not top.with_suffix(".use").exists()
    issuer.during = lambda: None
    monitor.sweep()
    assert held(top) == "bob.1" and top.with_suffix(".use").exists()


def test_stored_while_the_old_one_is_refused_stays(tmp_path: Path, issuer: Issuer) -> None:
    top = store(tmp_path, issuer.url, "alice.5")
    issuer.during = lambda: top.write_text(top.read_text().replace("alice.5", "alice.0"))
    monitor = watch(tmp_path, issuer)
    monitor.sweep()
    assert held(top) == "alice.0" and not top.with_suffix(".refused").exists()
    issuer.during = lambda: None
    monitor.sweep(scan=False)
    assert held(top) == "alice.1" and top.with_suffix(".use").exists()


def test_a_wish_stored_while_the_old_one_is_refused_stays(tmp_path: Path, issuer: Issuer) -> None:
    """What is too wide is refused by itself; what the member wants instead is asked for."""
    top = store(tmp_path, issuer.url, "alice.0")
    monitor = watch(tmp_path, issuer)
    monitor.sweep()
    narrow = derive(top, "in")
    issuer.fault = (400, "invalid_scope")
    issuer.during = lambda: narrow.write_text(narrow.read_text().replace("/x", "/y"))
    monitor.sweep()
    assert "/y" in narrow.read_text() and not narrow.with_suffix(".refused").exists() and top.exists()
    issuer.during, issuer.fault = lambda: None, None
    monitor.sweep()
    assert narrow.with_suffix(".use").exists()


@pytest.mark.parametrize(
    "text",
    [
        b"not json",
        b"[1]",
        b'{"issuer": 1, "client_id": "b", "refresh_token": "r"}',
        b'{"issuer": "https://elsewhere.example", "client_id": "b", "refresh_token": "r"}',
        b"[" * 60000,
        b'{"issuer": "%s", "client_id": "b", "refresh_token": "\\ud800"}',
    ],
)
def test_what_one_member_stores_does_not_stop_the_others(tmp_path: Path, issuer: Issuer, text: bytes) -> None:
    bad = store(tmp_path, issuer.url, "alice.0")
    bad.write_bytes(text.replace(b"%s", issuer.url.encode()))
    good = store(tmp_path, issuer.url, "bob.0")
    watch(tmp_path, issuer).sweep()
    assert good.with_suffix(".use").exists()
    assert not bad.with_suffix(".use").exists()
    assert issuer.asked == ["bob.0"]


def test_taken_back_goes_with_its_token(tmp_path: Path, issuer: Issuer) -> None:
    top = store(tmp_path, issuer.url, "alice.0")
    monitor = watch(tmp_path, issuer)
    monitor.sweep()
    top.unlink()
    monitor.sweep()
    assert not top.with_suffix(".use").exists()


def test_taken_back_goes_with_what_came_of_it(tmp_path: Path, issuer: Issuer) -> None:
    top = store(tmp_path, issuer.url, "alice.0")
    narrow = derive(top, "in")
    monitor = watch(tmp_path, issuer)
    monitor.sweep()
    assert narrow.with_suffix(".use").exists() and not queue.find_fault(top.parent, "farmlet_in")
    top.unlink()
    monitor.sweep()
    assert narrow.exists() and not narrow.with_suffix(".use").exists()
    assert "no credential for farmlet_in any more. " in queue.find_fault(top.parent, "farmlet_in")
    store(tmp_path, issuer.url, "alice.2")
    monitor.sweep()
    assert narrow.with_suffix(".use").exists()


def test_refused_what_came_of_it_lives_to_its_end(tmp_path: Path, issuer: Issuer) -> None:
    top = store(tmp_path, issuer.url, "alice.0")
    narrow = derive(top, "in")
    monitor = watch(tmp_path, issuer)
    monitor.sweep()
    issuer.live["alice"] = 7
    os.utime(top.with_suffix(".use"), (0, 0))
    monitor.sweep()
    monitor.sweep()
    assert not top.exists() and narrow.with_suffix(".use").exists() and not queue.find_fault(top.parent, "farmlet_in")
    narrow.with_suffix(".use").write_bytes(b"h.eyJleHAiOjF9.s")  # its end is over
    monitor.sweep()
    assert not narrow.with_suffix(".use").exists() and "invalid_grant" in queue.find_fault(top.parent, "farmlet_in")


def test_process_keeps_the_contract_with_credd(tmp_path: Path, issuer: Issuer) -> None:
    """Writes its process id, works at SIGHUP although started with signals blocked, ends at SIGTERM."""
    command = [sys.executable, "-m", "farmlet.parts.tokens.credmon", str(tmp_path), "--issuer", issuer.url]
    blocked = {signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT}
    signal.pthread_sigmask(signal.SIG_BLOCK, blocked)  # as condor_master starts its children
    try:
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, blocked)
    try:
        until(lambda: (tmp_path / "CREDMON_COMPLETE").exists())
        assert int((tmp_path / "pid").read_text()) == process.pid
        evidence = checks.check_credmon(str(tmp_path))
        assert "0 credentials" in evidence
        top = store(tmp_path, issuer.url, "alice.0")
        process.send_signal(signal.SIGHUP)
        until(lambda: top.with_suffix(".use").exists())
        process.terminate()
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
    with pytest.raises(Failed):
        checks.check_credmon(str(tmp_path))


def test_end_of_a_token() -> None:
    claims = base64.urlsafe_b64encode(b'{"exp": 12}').rstrip(b"=")
    assert credential.read_end(b"h." + claims + b".s") == 12
    for token in (b"opaque", b"", b"a.b.c"):
        assert credential.read_end(token) == 0


def test_members_take_turns_and_no_more_than_some_of_each_are_looked_after(
    tmp_path: Path, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one stores by the thousand comes before nobody else's."""
    monkeypatch.setattr(credential, "MOST", 20)
    for number in range(50):
        store(tmp_path, issuer.url, "eve.9", "eve", f"x{number:03}")
    for name in ("alice", "bob"):
        store(tmp_path, issuer.url, f"{name}.0", name)
    os.utime(tmp_path / "alice" / "farmlet.top", (1, 1))
    watch(tmp_path, issuer).sweep()
    assert {"alice.0", "bob.0"} < set(issuer.asked[:3])
    assert issuer.asked.count("eve.9") == 20


def test_the_check_tells_who_stored_too_many(tmp_path: Path, issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "MOST", 2)
    for number in range(3):
        store(tmp_path, issuer.url, "eve.0", "eve", f"x{number}")
    (tmp_path / "pid").write_text(str(os.getpid()))
    (tmp_path / "CREDMON_COMPLETE").touch()
    monkeypatch.setattr(Path, "read_bytes", lambda path: b"credmon")
    assert "of 3 that eve stored, 2 are looked after" in checks.check_credmon(str(tmp_path))


def test_what_one_member_stored_keeps_nobody_elses_from_being_looked_at(
    tmp_path: Path, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(tmp_path, issuer.url, "eve.0", "eve")
    top = store(tmp_path, issuer.url, "bob.0", "bob")
    monitor, real = watch(tmp_path, issuer), credmon.Monitor._look

    def look(self: credmon.Monitor, folder: str) -> object:
        if folder.endswith("/eve"):
            raise RecursionError
        return real(self, folder)

    monkeypatch.setattr(credmon.Monitor, "_look", look)
    monitor.sweep()
    assert held(top) == "bob.1"


@pytest.mark.parametrize("end", ["1e400", "NaN", "-Infinity", "9" * 400, "[" * 50_000, '"soon"', "null"])
def test_an_end_that_is_none_is_no_end(end: str) -> None:
    claims = base64.urlsafe_b64encode(f'{{"exp": {end}}}'.encode())
    assert credential.read_end(b"h." + claims + b".s") == 0
