"""One member cannot hurt the others on a log-in node."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest
from person import Person
from sandbox import Sandbox, until

pytestmark = [
    pytest.mark.facility,
    pytest.mark.lane("edit"),
    pytest.mark.disturbs("access", "batch"),
    pytest.mark.usefixtures("running"),
    pytest.mark.timeout(600),
]

# the first rests once it is refused; the second does not
BOMBS = {"shell": "bash -c ':(){ :|:& };:'; sleep 600", "busy": "exec python3 -c '{BOMB}'"}
BOMB = """
import os
while True:
    try:
        os.fork()
    except OSError:
        pass
"""
HOG = """
held = []
while True:
    held.append(bytearray(b"x") * (64 << 20))
"""


@pytest.fixture(scope="module")
def ruth(sandbox: Sandbox, running: Sandbox) -> Person:
    """Who does no harm."""
    person = Person.join(sandbox, "ruth", "lab")
    until(lambda: person.try_ssh("true").returncode == 0, 30)
    return person


@pytest.fixture
def eve(sandbox: Sandbox, running: Sandbox) -> Iterator[Person]:
    """Who does, each time another; nothing is left of it."""
    person = Person.join(sandbox, f"eve{secrets.token_hex(3)}", "lab")
    until(lambda: person.try_ssh("true").returncode == 0, 30)
    yield person
    sandbox.run("user", "suspend", person.name)
    until(lambda: not sandbox.exec("head", f"pgrep -u {person.name} || true"), 30)


def look(ruth: Person) -> None:
    """Log-in and queue go on. How quick they are meanwhile: benchmarks/limits.py."""
    for _ in range(3):
        ruth.ssh("timeout 60 condor_q -totals")


@pytest.mark.parametrize("kind", BOMBS)
def test_a_fork_bomb_leaves_log_in_and_queue(sandbox: Sandbox, ruth: Person, eve: Person, kind: str) -> None:
    bomb = eve.start(BOMBS[kind].format(BOMB=BOMB) if kind == "busy" else BOMBS[kind])
    for _ in range(3):
        look(ruth)
    if kind == "busy":
        bomb.communicate(timeout=60)
        uid = ruth.ssh(f"id -u {eve.name}")
        assert f"uid {uid}: a fork bomb" in sandbox.exec("head", "journalctl -u farmlet-guard -n 5 -o cat")
        assert eve.ssh("echo back") == "back", "her sessions were ended, not her membership"
    bomb.kill()


def test_a_memory_hog_leaves_log_in_and_queue(sandbox: Sandbox, ruth: Person, eve: Person) -> None:
    slice_ = f"user-{eve.ssh('id -u')}.slice"
    limits = dict(line.split("=") for line in sandbox.exec("head", f"systemctl show -p TasksMax,MemoryMax {slice_}").splitlines())
    assert int(limits["TasksMax"]) == 512 and int(limits["MemoryMax"]) < 6 << 30
    hog = eve.start(f"python3 -c '{HOG}'; echo ended $?")
    look(ruth)
    said, _ = hog.communicate(timeout=120)
    assert "ended 137" in said or hog.returncode == 255  # the kernel chose the hog, or the whole session
    assert sandbox.json("check", "access")


def test_a_disk_filler_leaves_log_in_and_queue(sandbox: Sandbox, ruth: Person, eve: Person) -> None:
    """Everywhere where a member may write and that is not theirs: the node's own disk is none of these."""
    places = sandbox.exec("head", "find / -type d -perm -0002 -not -path '/proc/*' 2>/dev/null || true").split()
    open_ = set(eve.ssh(f"for place in {' '.join(places)}; do test -w $place && echo $place; done; true").split())
    assert "/tmp" in open_ and "/var/tmp" not in open_
    disks = sandbox.exec("head", f"for place in {' '.join(sorted(open_))}; do findmnt -no FSTYPE -T $place; done").split()
    assert set(disks) <= {"tmpfs", "mqueue"}, dict(zip(sorted(open_), disks, strict=True))
    assert "/run/lock/condor/local_univ_execute" in places
    before = int(sandbox.exec("head", "df --output=avail -B1 / | tail -1"))
    said = eve.ssh("for place in /tmp /dev/shm $XDG_RUNTIME_DIR; do cat /dev/zero > $place/filler; done 2>&1; ls /tmp/filler")
    assert "No space left on device" in said
    try:
        look(ruth)
        ruth.ssh("printf 'executable = /bin/true\nhold = true\nqueue\n' | condor_submit -terse - && condor_rm -all")
        assert before - int(sandbox.exec("head", "df --output=avail -B1 / | tail -1")) < 1 << 30
    finally:
        sandbox.exec("head", "rm -f /tmp/filler /dev/shm/filler")


@pytest.mark.parametrize("universe", ["local", "scheduler", "grid\ngrid_resource = batch slurm"])
def test_nothing_runs_beside_the_sessions_by_way_of_the_queue(ruth: Person, universe: str) -> None:
    refused = ruth.try_ssh(f"printf 'universe = {universe}\nexecutable = /bin/sleep\narguments = 9\nqueue\n' | condor_submit -")
    assert refused.returncode and "use universe = vanilla" in refused.stderr
    dag = "printf 'executable = /bin/true\nhold = true\nqueue\n' > a.sub; echo JOB a a.sub > a.dag; condor_submit_dag -f {} a.dag"
    assert "submitted to cluster" in ruth.ssh(dag.format(""))
    for name, value in (("Cmd", '"/bin/sleep"'), ("JobUniverse", "12")):
        edited = ruth.try_ssh(f"condor_qedit -constraint 'JobUniverse == 7' {name} '{value}'")
        assert edited.returncode, edited
    ruth.ssh("condor_rm -all")
    ruth.ssh(f"{dag.format('-no_submit')}; grep -v ^queue a.dag.condor.sub > own.sub")
    preloaded = ruth.try_ssh("(cat own.sub; echo 'environment = \"L'\\''D_'\\''PRELOAD=/tmp/x.so\"'; echo queue) | condor_submit")
    assert preloaded.returncode and "without variables LD_" in preloaded.stderr


def test_cron_and_background_are_in_the_slice(sandbox: Sandbox, ruth: Person) -> None:
    ruth.ssh("echo 'sleep 7010' | at now 2>/dev/null; nohup setsid sleep 7011 >/dev/null 2>&1 </dev/null & true")
    uid = ruth.ssh("id -u")
    for number in (7010, 7011):
        until(lambda number=number: sandbox.exec("head", f"pgrep -f '[s]leep {number}' || true"), 90)
        pid = sandbox.exec("head", f"pgrep -f '[s]leep {number}'").split()[-1]
        assert f"user-{uid}.slice" in sandbox.exec("head", f"cat /proc/{pid}/cgroup")
    ruth.ssh("pkill sleep")


WORKFLOW = """
mkdir -p flow && cd flow && rm -f a.dag*
printf 'executable = /bin/true\nqueue\n' > a.sub
printf 'JOB a a.sub\nSCRIPT PRE a %s/pre.sh\n' "$PWD" > a.dag
printf '#!/bin/sh\nexec {pre}\n' > pre.sh && chmod +x pre.sh
condor_submit_dag -f a.dag > /dev/null
"""
FORKER = """
printf 'executable = /usr/bin/python3\narguments = bomb.py\ntransfer_input_files = bomb.py\n+WantLocal = true\n' > bomb.sub
printf 'request_memory = 128\nqueue\n' >> bomb.sub
condor_submit -terse bomb.sub
"""


def test_a_workflow_and_its_scripts_are_in_the_slice(sandbox: Sandbox, ruth: Person) -> None:
    ruth.ssh("printf '#!/bin/sh\nsetsid sh -c \"sleep 7013 & sleep 7013 &\" &\nexec sleep 7012\n' > away.sh; chmod +x away.sh")
    ruth.ssh(WORKFLOW.format(pre=f"/home/{ruth.name}/away.sh"))
    uid = ruth.ssh("id -u")
    # 7013 has left its parents behind
    for wanted in ("condor_dagman", "-f [s]leep.7012", "-f [s]leep.7013"):
        look = f"for pid in $(pgrep -u {uid} {wanted}); do cat /proc/$pid/cgroup; done"
        until(lambda look=look: f"user-{uid}.slice" in sandbox.exec("head", look), 60)
    ruth.ssh("pkill -f '[s]leep 701[23]'; true")
    until(lambda: "EXITING WITH STATUS" in ruth.ssh("cat flow/a.dag.dagman.out"), 180)
    until(lambda: not ruth.ssh("condor_q -af Cmd"), 60)


@pytest.mark.parametrize("kind", ["job", "workflow"])
def test_a_fork_bomb_by_way_of_the_queue_leaves_log_in_and_queue(sandbox: Sandbox, ruth: Person, eve: Person, kind: str) -> None:
    """On the node's own slots, or beside HTCondor's programs."""
    uid = eve.ssh("id -u")
    eve.ssh(f"printf '%s' '{BOMB}' > bomb.py")
    eve.ssh(FORKER if kind == "job" else WORKFLOW.format(pre=f"/usr/bin/python3 /home/{eve.name}/bomb.py"))
    until(lambda: sandbox.exec("head", f"journalctl -u farmlet-guard -o cat | grep 'uid {uid}: a fork bomb' || true"), 120)
    eve.try_ssh("condor_rm -all")  # what it was begun with may have ended too
    look(ruth)
