"""The credential monitor against a real issuer of its own: outages, kills at any moment, narrower tokens, an end for good."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
from browser import Browser
from credentials import ELEMENT, OTHER, store
from issuer import Service, claims, found, serve

from farmlet.parts.tokens import renewer
from farmlet.parts.tokens.credmon import Monitor
from farmlet.parts.tokens.source import Issuers
from waiting import until

pytestmark = [pytest.mark.service, pytest.mark.once]
LIFE = 4  # seconds of a token of the client `hasty`


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """An issuer that this file may stop."""
    with found(tmp_path_factory.mktemp("credmon")) as running:
        running.do("client", "ensure", "hasty", "--public", "--grant=device,refresh", f"--access-lifetime={LIFE}")
        yield running


@pytest.fixture(scope="module")
def tore(house: Service) -> Browser:
    return house.join("tore", "lab")[0]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path


def watch(house: Service, root: Path, audience: str = "", timeout: float = 15) -> Monitor:
    return Monitor(root, Issuers([house.issuer], house.cafile, timeout), audience)


def test_narrower_tokens_come_from_the_same_credential(house: Service, tore: Browser, root: Path) -> None:
    top = store(house, tore, root / "tore", "farmlet")
    narrow = top.with_name("farmlet_in.top")
    narrow.write_text(json.dumps({"of": "farmlet", "scopes": "storage.read:/users/tore,storage.read:/x", "audience": ELEMENT}))
    nothing = top.with_name("farmlet_bad.top")
    nothing.write_text(json.dumps({"of": "farmlet", "scopes": "storage.modify:/data"}))
    monitor = watch(house, root, f"{ELEMENT} {OTHER}")
    for _ in range(2):
        monitor.sweep()
    wide, small = (claims(path.with_suffix(".use").read_text()) for path in (top, narrow))
    assert wide["aud"] == [ELEMENT, OTHER]
    assert wide["scope"].split() == ["offline_access", "storage.read:/", "storage.modify:/users/tore"]
    assert (small["aud"], small["scope"]) == (ELEMENT, "storage.read:/users/tore storage.read:/x")
    # what the member may not have is refused by itself, and the credential stays
    assert not nothing.exists() and "invalid_scope" in nothing.with_suffix(".refused").read_text()
    assert top.exists() and narrow.exists()
    before = top.with_suffix(".use").stat().st_mtime_ns
    monitor.sweep()
    assert top.with_suffix(".use").stat().st_mtime_ns == before, "one token's renewal is no reason for another's"


def test_while_the_list_of_elements_changes_credentials_stay(
    house: Service, tore: Browser, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`up` tells head and issuer at different moments, and in either order."""
    monkeypatch.setattr(renewer, "BACKOFF", (0.5, 1.0))

    def register(*audiences: str) -> None:
        words = [f"--audience={audience}" for audience in audiences]
        house.do("client", "ensure", "local", "--public", "--grant=device,refresh", *words)

    register(ELEMENT, OTHER)
    top = store(house, tore, root / "tore", "local")
    register(ELEMENT)
    monitor = watch(house, root, ELEMENT)
    monitor.sweep()
    old = top.with_suffix(".use").read_bytes()
    # one more: the monitor asks for it first, and goes on by itself once the issuer knows it
    os.utime(top.with_suffix(".use"), (0, 0))
    monitor = watch(house, root, f"{ELEMENT} {OTHER}")
    monitor.sweep()
    assert top.exists() and top.with_suffix(".use").read_bytes() == old and not top.with_suffix(".refused").exists()
    register(ELEMENT, OTHER)
    until(lambda: [time.sleep(0.2), monitor.sweep(), top.with_suffix(".use").read_bytes() != old][2])
    # one less: the issuer knows it no more, and the monitor asks for it still
    register(ELEMENT)
    time.sleep(6)  # for which the issuer remembers a client at most
    old = top.with_suffix(".use").read_bytes()
    os.utime(top.with_suffix(".use"), (0, 0))
    monitor.sweep()
    assert top.exists() and top.with_suffix(".use").read_bytes() == old and not top.with_suffix(".refused").exists()
    watch(house, root, ELEMENT).sweep()
    assert claims(top.with_suffix(".use").read_text())["aud"] == ELEMENT


def test_ended_at_the_issuer_is_over_for_all_of_it_until_stored_anew(house: Service, tore: Browser, root: Path) -> None:
    top = store(house, tore, root / "tore")
    narrow = top.with_name("farmlet_in.top")
    narrow.write_text(json.dumps({"of": "farmlet", "scopes": "storage.read:/users/tore"}))
    monitor = watch(house, root)
    monitor.sweep()
    assert house.request("/revoke", {"client_id": "hasty", "token": json.loads(top.read_text())["refresh_token"]}).status == 200
    for use in (top.with_suffix(".use"), narrow.with_suffix(".use")):
        os.utime(use, (0, 0))
    monitor.sweep()
    assert not top.exists() and narrow.exists() and "invalid_grant" in top.with_suffix(".refused").read_text()
    until(lambda: [monitor.sweep(), not top.with_suffix(".use").exists()][1], 3 * LIFE)  # what was made of it lives to its end
    store(house, tore, root / "tore")
    narrow.with_suffix(".use").unlink(missing_ok=True)
    monitor.sweep()
    assert top.with_suffix(".use").exists() and narrow.with_suffix(".use").exists()
    assert not top.with_suffix(".refused").exists()


@contextmanager
def locked(house: Service) -> Iterator[None]:
    """Nobody else writes into the issuer's database: it has a request that changes something, and waits."""
    with closing(sqlite3.connect(house.folder / "db" / "db.sqlite3", isolation_level=None)) as database:
        database.execute("begin immediate")
        yield
        database.execute("rollback")


@contextmanager
def stopped(house: Service) -> Iterator[None]:
    workers = [int(word) for word in Path(f"/proc/{house.pid}/task/{house.pid}/children").read_text().split()]
    for worker in workers:
        os.kill(worker, signal.SIGSTOP)
    try:
        yield
    finally:
        for worker in workers:
            os.kill(worker, signal.SIGCONT)


def test_a_refresh_that_the_issuer_takes_long_after_nobody_waits_for_it(
    house: Service, tore: Browser, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is stopped with the request in its hands, and continued: it replaces the refresh token only then, for nobody."""
    # as after a few tries in vain: whoever waits so long comes after the 30 s in which the issuer forgives
    monkeypatch.setattr(renewer, "BACKOFF", (40.0, 60.0))
    top = store(house, tore, root / "tore")
    secret = json.loads(top.read_text())["refresh_token"]
    rotated = f"select rotated from identity_connection where replace(id, '-', '') = '{secret[:36].replace('-', '')}'"
    monitor = watch(house, root, timeout=2)
    with ExitStack() as stop, ThreadPoolExecutor() as pool:
        with locked(house):
            asked = pool.submit(monitor.sweep)
            time.sleep(1)
            stop.enter_context(stopped(house))
            assert not asked.done(), "the request did not wait"
            asked.result()
        for _ in range(3):
            time.sleep(1)
            monitor.sweep()
        assert house.execute(rotated) == [(None,)]
    until(lambda: house.execute(rotated) != [(None,)])
    assert json.loads(top.read_text())["refresh_token"] == secret
    until(lambda: [time.sleep(0.2), monitor.sweep(), top.with_suffix(".use").exists()][2], 45)
    # and again: it was forgiven, and what came of it is good
    os.utime(top.with_suffix(".use"), (0, 0))
    monitor.sweep()
    assert is_good(top.with_suffix(".use")) and top.exists() and not top.with_suffix(".refused").exists()


def test_an_issuer_away_for_three_lifetimes(house: Service, tore: Browser, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewer, "SHORTEST", 1.0)
    top = store(house, tore, root / "tore")
    monitor, stop = watch(house, root), time.monotonic() + 3 * LIFE
    monitor.sweep()
    os.kill(house.pid, signal.SIGKILL)  # gunicorn's workers go with their parent
    while time.monotonic() < stop:
        monitor.sweep()
        time.sleep(0.2)
    assert claims(top.with_suffix(".use").read_text())["exp"] < time.time() and top.exists()
    port = house.issuer.rpartition(":")[2]
    with serve(house, f"127.0.0.1:{port}", "--certfile", house.cafile, "--keyfile", str(house.folder / "tls.key")):
        until(lambda: [monitor.sweep(), claims(top.with_suffix(".use").read_text())["exp"] > time.time()][1], 90)
        assert not top.with_suffix(".refused").exists()
        check_killed(house, tore, root)


def check_killed(house: Service, browser: Browser, root: Path) -> None:
    """kill -9 at any moment: whatever was on its way, tokens, their owners and modes are afterwards as before."""
    folder = root / "tore"
    for name in ("one", "two"):
        (folder / f"farmlet_{name}.top").write_text(json.dumps({"of": "farmlet", "scopes": f"storage.read:/{name}"}))
    command = [
        sys.executable,
        "-m",
        "farmlet.parts.tokens.credmon",
        str(root),
        "--issuer",
        house.issuer,
        "--cafile",
        house.cafile,
    ]
    watch(house, root).sweep()
    before = {path.name: (path.stat().st_mode, path.stat().st_uid) for path in folder.glob("*.use")}
    assert len(before) == 3
    for _ in range(8):
        for use in folder.glob("*.use"):
            os.utime(use, (0, 0))
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        mine = str(process.pid)
        until(lambda mine=mine: (root / "pid").exists() and (root / "pid").read_text() == mine)
        time.sleep(random.uniform(0, 0.1))
        process.kill()
        process.wait()
    monitor = watch(house, root)
    until(lambda: [monitor.sweep(), all(is_good(folder / name) for name in before)][1])
    assert {path.name: (path.stat().st_mode, path.stat().st_uid) for path in folder.glob("*.use")} == before
    assert not list(folder.glob("*.refused"))


def is_good(use: Path) -> bool:
    return use.exists() and bool(claims(use.read_text())["exp"] > time.time() + LIFE / 4)
