"""The door of a log-in node: who must not come in by a certificate, and many at once who must."""

from __future__ import annotations

import secrets

import pytest
from person import Person
from sandbox import Sandbox, until

pytestmark = [pytest.mark.facility, pytest.mark.usefixtures("running"), pytest.mark.timeout(600)]
LOGINS = 100  # at once, of one address: a course that begins


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
    people = [Person.join(sandbox, f"crowd{secrets.token_hex(3)}", "lab") for _ in range(5)]
    for person in people:
        until(lambda person=person: person.try_ssh("true").returncode == 0, 30)
    started = [people[number % len(people)].start("true") for number in range(LOGINS)]
    ended = [process.communicate(timeout=120)[1] for process in started]
    assert [said for said, process in zip(ended, started, strict=True) if process.returncode] == []
