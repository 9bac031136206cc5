"""The door of a log-in node: who must not come in by a certificate, and many at once who must."""

from __future__ import annotations

import secrets
import subprocess
from pathlib import Path

import pytest
from person import Person
from sandbox import Sandbox, until

pytestmark = [pytest.mark.facility, pytest.mark.usefixtures("running"), pytest.mark.timeout(600)]
LOGINS = 100  # at once, of one address: a course that begins
TOOLS = ("git", "vim", "nano", "emacs", "less", "man", "make", "cmake", "wget", "file", "unzip", "jq", "gcc", "pip3")
CRONTAB = r"""
printf '#!/bin/sh\necho "0 1 * * * true" > "$1"; touch -d "1 minute" "$1"\n' > editor; chmod +x editor
EDITOR=$PWD/editor crontab -e && crontab -l && crontab -r
"""
LANGUAGE = "locale charmap; perl -e 1; touch ünï; ls | grep ünï; rm ünï"


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


def test_the_tools_of_every_day(sandbox: Sandbox, running: Sandbox, tmp_path: Path) -> None:
    """As a member who has just come in, with the language of their own machine."""
    person = Person.join(sandbox, "tilma", "lab")
    until(lambda: person.try_ssh("true").returncode == 0, 30)
    assert person.ssh(f"for tool in {' '.join(TOOLS)}; do command -v $tool >/dev/null || echo $tool; done") == ""
    assert "0 1 * * * true" in person.ssh(CRONTAB)
    assert "list directory contents" in person.ssh("man ls | cat")
    for language in ("", "de_DE.UTF-8", "pl_PL.UTF-8", "ja_JP.UTF-8"):
        done = person.try_ssh(f"{f'export LANG={language}; ' if language else ''}{LANGUAGE}")
        assert (done.stdout.split(), done.stderr) == (["UTF-8", "ünï"], ""), language
    person.ssh("git init -q --bare here.git && python3 -m venv own && own/bin/pip --version && pip3 --version")
    host = f"head.{sandbox.domain}"
    ssh = f"core.sshCommand=ssh -F {person.folder}/ssh_config"
    clone = ["git", "-c", ssh, "clone", "-q", f"{host}:here.git", str(tmp_path / "x")]
    subprocess.run(clone, check=True, capture_output=True, timeout=60)
