"""The door of a log-in node: who must not come in by a certificate, and many at once who must."""

from __future__ import annotations

import subprocess
import time

import pytest
from conftest import Sandbox
from person import Person
from test_3_leaving import until

pytestmark = [pytest.mark.facility, pytest.mark.usefixtures("running"), pytest.mark.timeout(600)]
LOGINS, SECONDS = 100, 10.0  # at once; what the 95th percentile of them may take on two cores


def test_an_account_of_the_host_with_a_members_name_stays_the_hosts(sandbox: Sandbox, running: Sandbox) -> None:
    sandbox.exec("head", "useradd --create-home --uid 1777 lodger")
    person = Person.join(sandbox, "lodger", "lab")
    try:
        until(lambda: "lodger" in sandbox.exec("head", "getent -s sss group lab || true"), 30)
        assert "Permission denied" in person.try_ssh("id").stderr, "the name alone opens nothing"
    finally:
        sandbox.exec("head", "userdel --remove lodger; sss_cache -E")
    until(lambda: person.try_ssh("true").returncode == 0, 30)
    assert int(person.ssh("id -u")) >= 20000


def test_a_hundred_log_ins_at_once(sandbox: Sandbox, running: Sandbox) -> None:
    people = [Person.join(sandbox, f"crowd{number}", "lab") for number in range(5)]
    for person in people:
        until(lambda person=person: person.try_ssh("true").returncode == 0, 30)
    began = time.monotonic()
    started = [people[number % len(people)].start("true") for number in range(LOGINS)]
    seconds = finish(started, began)
    assert [process.stderr.read() for process in started if process.returncode and process.stderr] == []
    print(f"of {LOGINS} log-ins at once the median took {seconds[LOGINS // 2]:.1f} s, the last {seconds[-1]:.1f} s")
    assert seconds[LOGINS * 95 // 100] <= SECONDS, seconds


def finish(started: list[subprocess.Popen[str]], began: float) -> list[float]:
    """Seconds until each was over, in order."""
    ends: dict[int, float] = {}
    while len(ends) < len(started):
        for number, process in enumerate(started):
            if number not in ends and process.poll() is not None:
                ends[number] = time.monotonic() - began
        time.sleep(0.02)
    return sorted(ends.values())
