"""Homes and scratch on a real log-in node: who may look, how much goes in, what stays of those who leave; what log-in shows."""

from __future__ import annotations

import json
import re
import subprocess
import time

import pytest
from person import PASSWORD, Person
from sandbox import Sandbox, until

pytestmark = [pytest.mark.facility, pytest.mark.usefixtures("running"), pytest.mark.timeout(900)]
TOMBSTONES = "/var/lib/farmlet/accounts/tombstones.json"
HELD = "executable = /bin/sleep\narguments = 600\nhold = true\nqueue 2\n"
SECONDS = 30.0  # from a change to what follows from it, on a busy machine


def join(sandbox: Sandbox, name: str, group: str = "lab") -> Person:
    person = Person.join(sandbox, name, group)
    until(lambda: person.try_ssh("test -w . && test -w /scratch/$USER").returncode == 0, 30)
    return person


@pytest.fixture(scope="module")
def ivy(sandbox: Sandbox, running: Sandbox) -> Person:
    return join(sandbox, "ivy")


@pytest.fixture(scope="module")
def olga(sandbox: Sandbox, running: Sandbox) -> Person:
    return join(sandbox, "olga")


def read_terminal(person: Person) -> str:
    """What a log-in at a terminal shows until the prompt."""
    command = person.command("")[:-1]
    command.insert(1, "-tt")
    done = subprocess.run(command, input="exit\n", capture_output=True, text=True, timeout=60)
    return done.stdout.replace("\r", "")


def test_home_and_scratch_are_the_members_own(ivy: Person, olga: Person) -> None:
    assert ivy.ssh("stat -c '%U %a' ~ /scratch/ivy").splitlines() == ["ivy 700", "ivy 700"]
    ivy.ssh("echo mine > ~/thesis; echo mine > /scratch/ivy/big")
    for path in ("/home/ivy/thesis", "/scratch/ivy/big"):
        assert "Permission denied" in olga.try_ssh(f"cat {path}").stderr


def test_a_full_home_is_its_owners_alone_and_limits_follow_the_rights(sandbox: Sandbox, olga: Person) -> None:
    petra = join(sandbox, "petra", "small")  # a group whose homes hold 64 MiB
    until(lambda: "of 64M" in read_terminal(petra), 60)
    done = petra.try_ssh("dd if=/dev/urandom of=hog bs=1M count=200 conv=fsync; stat -c %s hog")
    assert "Disk quota exceeded" in done.stderr and 50 << 20 <= int(done.stdout) <= 64 << 20
    olga.ssh("dd if=/dev/urandom of=data bs=1M count=50 conv=fsync")  # not hurt
    until(lambda: re.search(r"of 64M used, (99|100) %: full", read_terminal(petra)), 60)
    (told,) = [row for row in sandbox.json("check", "accounts.homes.home") if row["node"] == "head"]
    assert re.search(r"[1-9]\d* of \d+ members have limits \(btrfs", told["evidence"])
    sandbox.run("user", "join", "petra", "--group", "lab")
    until(lambda: petra.try_ssh("dd if=/dev/urandom of=more bs=1M count=50 conv=fsync").returncode == 0, 60)


def age(sandbox: Sandbox, name: str) -> None:
    """As if the member had left long ago."""
    program = f"import json; p = '{TOMBSTONES}'; d = json.load(open(p)); d['{name}']['left'] = 1; json.dump(d, open(p, 'w'))"
    sandbox.exec("service", f'systemctl stop farmlet-accounts; python3 -c "{program}"; systemctl start farmlet-accounts')


def come_back(sandbox: Sandbox, person: Person) -> None:
    person.browser.join(sandbox.json("user", "resume", person.name)["join"], person.name, PASSWORD)
    person.take_certificate()
    until(lambda: person.try_ssh("test -w .").returncode == 0, 30)


def test_who_comes_back_has_uid_and_home_within_the_grace_and_after_it(sandbox: Sandbox, olga: Person) -> None:
    nora = join(sandbox, "nora")
    uid = nora.ssh("id -u; echo mine > thesis; echo kept > /scratch/nora/big").splitlines()[0]
    sandbox.run("user", "remove", "nora")
    until(lambda: nora.try_ssh("true").returncode == 255, SECONDS)
    time.sleep(6)  # nothing happens to the home; the agent looks every 5 s
    assert sandbox.exec("head", "cat /home/nora/thesis") == "mine"
    come_back(sandbox, nora)
    assert nora.ssh("id -u; cat thesis").split() == [uid, "mine"]

    sandbox.run("user", "remove", "nora")
    until(lambda: "left" in json.loads(sandbox.exec("service", f"cat {TOMBSTONES}"))["nora"], SECONDS)
    age(sandbox, "nora")
    until(lambda: not sandbox.exec("head", "ls -d /home/nora || true"), 30)
    assert sandbox.exec("head", "stat -c '%u %a' /home/.archive /home/.archive/nora").split() == ["0", "700", uid, "700"]
    assert sandbox.exec("head", "cat /scratch/nora/big") == "kept"
    assert olga.try_ssh("ls /home/.archive").returncode
    (told,) = [row for row in sandbox.json("check", "accounts.homes.home") if row["node"] == "head"]
    assert re.search(r"[1-9]\d* in the archive", told["evidence"])
    come_back(sandbox, nora)
    assert nora.ssh("id -u; cat thesis /scratch/nora/big").split() == [uid, "mine", "kept"]
    assert "nora" not in sandbox.exec("head", "ls /home/.archive").split()


def test_a_log_in_shows_space_and_jobs_and_never_waits_for_the_queue(sandbox: Sandbox, olga: Person) -> None:
    olga.ssh(f"cat > held.sub <<'.'\n{HELD}.\ncondor_submit -terse held.sub")
    until(lambda: "home" in read_terminal(olga), 60)
    shown = read_terminal(olga)
    assert "Example analysis facility" in shown and f"head.{sandbox.domain}" in shown
    assert re.search(r"^  home     .* of 20G used", shown, re.MULTILINE) and re.search(r"^  scratch  ", shown, re.MULTILINE)
    assert re.search(r"^  jobs     (0 idle, 0 running, 2 held|the queue does not answer)", shown, re.MULTILINE)
    assert "home" not in olga.ssh("bash -lc true") and olga.ssh("true") == ""  # nothing where a program listens
    sandbox.exec("head", "pkill -STOP -x condor_schedd")
    try:
        shown = read_terminal(olga)
    finally:
        sandbox.exec("head", "pkill -CONT -x condor_schedd")
    assert "the queue does not answer just now" in shown
    olga.ssh("condor_rm -all")
