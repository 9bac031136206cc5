"""What runs for a member who left is found by user id, whatever it is called, and ends; nobody else's does."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from farmlet.parts.accounts.deprovision import processes

GONE, STAYS = 48123, 48124
SOURCE = Path(processes.__file__).parents[4]
# What is tried runs where there are no other processes than its own: it kills by user id.
ALONE = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "/usr/bin/python3", "-c"]
TRY = """
import json, signal, subprocess, sys
from farmlet.parts.accounts.deprovision import processes

def start(uid, code="import time; print('up', flush=True); time.sleep(60)"):
    made = subprocess.Popen(["/usr/bin/python3", "-c", code], user=uid, group=uid, extra_groups=(), stdout=-1, text=True, cwd="/")
    assert made.stdout.readline() == "up\\n"
    return made

def apply(state):
    rows = [{"name": "bob", "uid": 48123, "state": state}, {"name": "eve", "uid": 48124, "state": "active"}]
    processes.apply(json.dumps(rows).encode(), "/nonexistent", "/nonexistent")

def runs():
    return any(list(processes.find({48123})) for _ in range(100))
"""
# what does not heed a polite request, and is another process all the time
HOP = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
end = time.monotonic() + 60
while time.monotonic() < end:
    if os.fork():
        os._exit(0)
    os.setsid()
    time.sleep(0.002)
"""


def try_alone(code: str, tmp_path: Path) -> None:
    # by the distribution's Python, which who is no root may run too
    environment = os.environ | {"PYTHONPATH": str(SOURCE)}
    done = subprocess.run([*ALONE, TRY + code], capture_output=True, text=True, timeout=60, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr


def account(name: str, uid: int, state: str = "active", **more: Any) -> dict[str, Any]:
    return {"name": name, "uid": uid, "gid": uid, "state": state, "login": True, "groups": []} | more


def told(*accounts: dict[str, Any]) -> bytes:
    return json.dumps(accounts).encode()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name in ("spool/crontabs", "spool/atjobs", "linger"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


def apply(place: Path, *accounts: dict[str, Any]) -> None:
    processes.apply(told(*accounts), str(place / "spool"), str(place / "linger"))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to run as others")
def test_every_process_of_who_left_ends_and_no_other(tmp_path: Path) -> None:
    try_alone(
        """
own, contained, others = start(48123), start((48123 << 16) + 1000), [start(48124), start((48124 << 16) + 1000), start(0)]
apply("active")
assert own.poll() is None
apply("suspended")
assert own.wait(5) == contained.wait(5) == -9
assert [process.poll() for process in others] == [None, None, None]
""",
        tmp_path,
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to run as others")
def test_what_forks_all_the_time_ends_too(tmp_path: Path) -> None:
    try_alone(
        f"""
for _ in range(5):
    start(48123, {HOP!r})
# else each hop leaves a zombie here, and a busy machine runs out of processes before they are ended
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
assert runs()
apply("removed")
assert not runs()
""",
        tmp_path,
    )


def test_crontabs_are_put_aside_and_come_back_with_their_member(place: Path) -> None:
    tabs = place / "spool/crontabs"
    (tabs / "bob").write_text("* * * * * true\n")
    (tabs / "eve").write_text("@daily true\n")
    (place / "linger/bob").touch()
    apply(place, account("bob", GONE, "suspended"), account("eve", STAYS))
    assert [path.name for path in tabs.iterdir()] == ["eve"] and not (place / "linger/bob").exists()
    apply(place, account("bob", GONE, "suspended"), account("eve", STAYS))
    apply(place, account("bob", GONE), account("eve", STAYS))
    assert (tabs / "bob").read_text() == "* * * * * true\n"


def test_at_jobs_go_by_their_owner(place: Path) -> None:
    (place / "spool/atjobs/a00001").touch()
    apply(place, account("bob", os.getuid(), "expired") | {"uid": 48999}, account("eve", STAYS))
    assert (place / "spool/atjobs/a00001").exists()
    processes.apply(told(account("bob", os.getuid() or 0, "active")), str(place / "spool"), str(place / "linger"))
    assert (place / "spool/atjobs/a00001").exists()
    os.chown(place / "spool/atjobs/a00001", GONE, GONE) if os.geteuid() == 0 else pytest.skip("needs root to give files away")
    apply(place, account("bob", GONE, "expired"))
    assert not (place / "spool/atjobs/a00001").exists()


def test_nodes_without_cron_or_logind_are_fine(tmp_path: Path) -> None:
    processes.apply(told(account("bob", GONE, "suspended")), str(tmp_path / "none"), str(tmp_path / "none"))


def test_each_member_has_ids_for_containers_that_no_other_has(tmp_path: Path) -> None:
    file = tmp_path / "subuid"
    file.write_text("debian:100000:65536\nbob:1:2\n")
    members = [account("bob", 20001), account("eve", 20002), account("robot", 20003, login=False), account("far", 70000)]
    processes.grant(told(*members), 20000, (str(file),))
    assert file.read_text().splitlines() == [
        "debian:100000:65536",
        f"bob:{20001 << 16}:65536",
        f"eve:{20002 << 16}:65536",
    ]
    before = file.stat()
    processes.grant(told(*members), 20000, (str(file),))
    assert file.stat().st_mtime_ns == before.st_mtime_ns
