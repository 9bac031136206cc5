"""Tokens of jobs and sessions, from the first submission to the end of a membership, with tokens that live a minute.

One job runs on a drone for three lifetimes; most of what is looked at here happens meanwhile.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import notebooks
import pytest
from jobs import FOLDER, LIFE, claims, deposit, join, secret, shorten, write
from person import Person
from sandbox import Sandbox, until
from terminal import Terminal

pytestmark = [pytest.mark.facility, pytest.mark.usefixtures("running"), pytest.mark.timeout(900)]
ME = f"tilda{secrets.token_hex(3)}"
HOUR = 3600
ODD = "price $5 $(id)"  # of which a shell would make something else
# what condor_submit would have asked a credential for first
BINDINGS = """
import htcondor2
job = {"executable": "/bin/true", "request_memory": "128", "use_oauth_services": "farmlet", "My.WantLocal": "true"}
print(htcondor2.Schedd().submit(htcondor2.Submit(job)).cluster())
"""
# a workflow of one script, which looks for its token once it is told to
SCRIPT = '#!/bin/sh\nuntil [ -e go ]; do sleep 1; done\ncat "$BEARER_TOKEN_FILE" > late\n'
WORKFLOW = f"""
mkdir flow && cd flow && printf '{SCRIPT}' > pre.sh && chmod +x pre.sh
printf 'executable = /bin/true\nqueue\n' > a.sub; printf 'JOB a a.sub NOOP\nSCRIPT PRE a pre.sh\n' > a.dag
condor_submit_dag a.dag
"""
STORE = "condor_store_cred query-oauth -s farmlet"
# at the end of a long session
PUT = """\
cat $BEARER_TOKEN_FILE; echo; sleep {seconds}
printf 'header = "Authorization: Bearer %s"' "$(cat $BEARER_TOKEN_FILE)" |
  curl -sSL -o /dev/null -w '%{{http_code}}\\n' -X PUT -d x -K - {url}
cat $BEARER_TOKEN_FILE
"""

# a cell that begins it in a server that nobody touches afterwards
BEGIN = """
import json, subprocess
subprocess.Popen(["sh", "-c", '''{put}'''], stdout=open("untouched", "w"), stderr=subprocess.STDOUT, start_new_session=True)
print(json.dumps("begun"))
"""


@pytest.fixture(scope="module")
def hasty(sandbox: Sandbox, running: Sandbox) -> Iterator[None]:
    """Tokens of jobs live a minute."""
    shorten(sandbox, LIFE)
    yield
    shorten(sandbox, None)


@pytest.fixture(scope="module")
def tilda(sandbox: Sandbox, hasty: None) -> Person:
    return join(sandbox, ME)


@pytest.fixture(scope="module")
def first(tilda: Person) -> str:
    """The refresh token of tilda's first submission, whose job runs for three lifetimes."""
    url = f"https://tier1.sites.{tilda.sandbox.domain}:8443/users/{ME}/late"
    submit = write(tilda, "late", f"{3 * LIFE + 10} {url}", "requirements = TARGET.FarmletSite =!= undefined")
    with Terminal(tilda, submit) as terminal:
        terminal.read("code: [A-Z-]+")
        terminal.allow()
        terminal.read(r"\d+\.0 - \d+\.0")
    return secret(tilda.sandbox, ME)


@pytest.fixture(scope="module")
def long(sandbox: Sandbox, hasty: None) -> subprocess.Popen[str]:
    """A session of two lifetimes, whose member does nothing but write to storage at its end."""
    sita = join(sandbox, f"sita{secrets.token_hex(3)}")
    deposit(sita)
    return sita.start(PUT.format(seconds=2 * LIFE + 10, url=f"https://head.{sandbox.domain}:8443/users/{sita.name}/end"))


@pytest.fixture(scope="module")
def untouched(sandbox: Sandbox, hasty: None) -> Iterator[Person]:
    """Has a server that writes to storage after three lifetimes, and neither a browser nor a session open."""
    person = notebooks.join(sandbox, "nele")
    until(lambda: person.try_ssh("true").returncode == 0, 30)
    deposit(person)
    hub = notebooks.enter(person)
    hub.start()
    put = PUT.format(seconds=3 * LIFE + 10, url=f"https://head.{sandbox.domain}:8443/users/{person.name}/end")
    assert notebooks.run_cell(person, hub, BEGIN.format(put=put)) == "begun"
    yield person
    hub.stop()


def test_without_a_terminal_the_command_is_named(tilda: Person) -> None:
    done = tilda.try_ssh(write(tilda, "dumb", "0 x"))
    assert done.returncode != 0 and "on a terminal: farmlet-credential" in done.stderr
    assert tilda.try_ssh(STORE).returncode == 1 and not tilda.ssh("condor_q -af ClusterId")


def test_interrupted_nothing_is_left(tilda: Person) -> None:
    with Terminal(tilda, "farmlet-credential") as terminal:
        terminal.read("waiting")
        os.write(terminal.primary, b"\x03")
        terminal.read("nothing was stored")
    assert tilda.try_ssh(STORE).returncode == 1


def test_the_first_submission_asks_and_the_next_does_not(
    tilda: Person, first: str, long: subprocess.Popen[str], untouched: Person
) -> None:
    tilda.ssh(write(tilda, "next", "0 x", "+WantLocal = true\nhold = true"))
    assert tilda.try_ssh("farmlet-credential").returncode == 0
    tilda.ssh("condor_rm -constraint 'JobStatus == 5'")


def test_a_narrower_token_by_submit_words(tilda: Person, first: str) -> None:
    words = (
        f"farmlet_oauth_permissions_NAME = storage.read:/users/{ME}\nfarmlet_oauth_resource_NAME = https://elsewhere.example\n"
    )
    ours = words.replace("https://elsewhere.example", f"https://head.{tilda.sandbox.domain}:8443").replace("NAME", "in")
    show = "executable = show.sh\n+WantLocal = true\n"
    tilda.ssh("printf '#!/bin/sh\\ncat $_CONDOR_CREDS/farmlet_in.use\\n' > show.sh && chmod +x show.sh")
    tilda.ssh(write(tilda, "narrow", "", show + ours))
    until(lambda: tilda.ssh("cat narrow.out 2>/dev/null || true"), 60)
    found = claims(tilda.ssh("cat narrow.out"))
    assert (found["scope"], found["aud"]) == (f"storage.read:/users/{ME}", f"https://head.{tilda.sandbox.domain}:8443")
    # as the pages for members have it for drones
    onto = ours.replace("show.sh", "") + 'environment = "BEARER_TOKEN_FILE=/srv/.condor_creds/farmlet_in.use"\n'
    read = "executable = read.sh\nrequirements = TARGET.FarmletSite =!= undefined\n"
    tilda.ssh("printf '#!/bin/sh\\ncat $BEARER_TOKEN_FILE\\n' > read.sh && chmod +x read.sh")
    tilda.ssh(write(tilda, "drone", "", read + onto))
    until(lambda: tilda.ssh("cat drone.out 2>/dev/null || true"), 120)
    assert claims(tilda.ssh("cat drone.out"))["scope"] == f"storage.read:/users/{ME}"
    # the client for jobs may have tokens for storage elements only
    done = tilda.try_ssh(write(tilda, "odd", "", show + words.replace("NAME", "odd")))
    assert done.returncode != 0 and "the issuer refuses a token for that" in done.stderr
    done = tilda.try_ssh(write(tilda, "bare", "", show + f"farmlet_oauth_permissions = storage.read:/users/{ME}"))
    assert done.returncode != 0 and "a narrower token needs a name of its own" in done.stderr


def test_a_job_in_a_container_of_the_facilitys_own_slots_reads_storage_without_a_word(tilda: Person, first: str) -> None:
    url = f"https://head.{tilda.sandbox.domain}:8443/users/{ME}/thesis"
    tilda.ssh(
        f'printf \'header = "Authorization: Bearer %s"\' "$(cat $BEARER_TOKEN_FILE)" > c && echo mine > thesis && '
        f"curl -sS --fail --location -K c -T thesis {url} && rm c"
    )
    script = f'import fsspec\nprint(fsspec.open("{url}").open().read())'
    script += '\nimport os; print(os.environ["ODD"])'
    tilda.ssh(f"printf '#!/usr/bin/env python3\\n%s\\n' '{script}' > read.py && chmod +x read.py")
    more = "executable = read.py\n+WantLocal = true\ncontainer_image = /cvmfs/unpacked/analysis\n"
    more += f"environment = \"ODD='{ODD.replace('$', '$(DOLLAR)')}'\""
    tilda.ssh(write(tilda, "inside", "", more))
    until(lambda: tilda.ssh("cat inside.out inside.err 2>/dev/null || true"), 60)
    assert tilda.ssh("cat inside.out inside.err") == f"b'mine\\n'\n{ODD}"


def test_a_session_has_the_token_and_loses_it_after_the_last(sandbox: Sandbox, tilda: Person, first: str) -> None:
    place = f"/run/farmlet-tokens/{ME}"
    assert tilda.ssh("stat -c '%a %U' $BEARER_TOKEN_FILE; stat -f -c %T $BEARER_TOKEN_FILE") == f"400 {ME}\ntmpfs"
    tilda.ssh(f"xrdfs roots://head.{sandbox.domain} mkdir -p /users/{ME}/session")
    assert sandbox.exec("head", f"cmp {place}/token {FOLDER}/{ME}/farmlet.use && echo same") == "same"
    stranger = sandbox.exec("head", f"setpriv --reuid=nobody --clear-groups cat {place}/token 2>&1 || true")
    assert "Permission denied" in stranger
    until(lambda: sandbox.exec("head", f"test -e {place} || echo gone") == "gone", 60)


def test_the_refresh_token_is_on_no_other_node(sandbox: Sandbox, tilda: Person, first: str) -> None:
    until(lambda: tilda.ssh("cat late.out 2>/dev/null; condor_q -af JobStatus -constraint 'JobStatus == 2'"), 120)
    parts = sorted({text.partition(".")[2][::-1] for text in (first, secret(sandbox, ME))})
    program = Path(__file__).with_name("search.py").read_text()
    for node in ("service", "tier1"):
        found = sandbox.exec(node, f"python3 - {secrets.token_hex(8)} {' '.join(parts)} <<'.'\n{program}.\n")
        assert found == "the sample only", (node, found)


@pytest.fixture(scope="module")
def udo(sandbox: Sandbox, hasty: None) -> Person:
    return join(sandbox, f"udo{secrets.token_hex(3)}")


def test_taken_back_jobs_are_held_and_released_when_it_is_stored_anew(udo: Person) -> None:
    # one that HTCondor itself holds, since it begins without a credential
    udo.ssh(f"python3 -c '{BINDINGS}'")
    until(lambda: udo.ssh("condor_q -af JobStatus") == "5", 60)
    submit = write(udo, "wait", "0 x", "requirements = false")
    with Terminal(udo, submit) as terminal:
        terminal.allow()
        terminal.read(r"\d+\.0 - \d+\.0")
    until(lambda: udo.ssh("condor_q -af JobStatus") == "1", 30)
    udo.ssh("condor_store_cred delete-oauth -s farmlet")
    until(lambda: udo.ssh("condor_q -af JobStatus") == "5", 90)
    assert "no credential for farmlet any more" in udo.ssh("condor_q -af HoldReason")
    token = udo.authorise("offline_access storage.read:/", client="batch").refresh_token
    given = subprocess.run(udo.command("farmlet-credential --stdin"), input=token, text=True, capture_output=True, timeout=60)
    assert given.returncode == 0, given.stderr
    until(lambda: udo.ssh("condor_q -af JobStatus") == "1", 30)
    udo.ssh("condor_rm -all")


def test_scripts_of_a_workflow_have_a_token_when_nobody_is_logged_in(sandbox: Sandbox, udo: Person) -> None:
    udo.ssh(WORKFLOW)
    uid, place = udo.ssh("id -u"), f"/run/farmlet-tokens/{udo.name}"
    until(lambda: sandbox.exec("head", f"systemctl is-active user@{uid} || true") == "inactive", 60)
    sandbox.exec("head", f"touch /home/{udo.name}/flow/go")
    until(lambda: sandbox.exec("head", f"test -s /home/{udo.name}/flow/late && echo there || true"), 60)
    assert claims(sandbox.exec("head", f"cat /home/{udo.name}/flow/late"))["exp"] > time.time()  # type: ignore[operator]
    until(lambda: sandbox.exec("head", f"test -e {place} || echo gone") == "gone", 60)


def test_a_job_of_three_lifetimes_writes_at_its_end(sandbox: Sandbox, tilda: Person, first: str) -> None:
    until(lambda: not tilda.ssh("condor_q -af ClusterId"), 4 * LIFE + 120)
    *lines, status = tilda.ssh("cat late.out late.err").splitlines()
    assert status in ("200", "201"), status
    pairs = [[int(word) for word in line.split()] for line in lines]
    assert len({end for _, end in pairs}) >= 4 and pairs[-1][1] > pairs[-1][0]
    assert pairs[-1][0] - pairs[0][0] >= 3 * LIFE


@pytest.mark.soak
@pytest.mark.timeout(4 * HOUR)
def test_a_job_of_three_lifetimes_as_long_as_they_really_are(sandbox: Sandbox, running: Sandbox) -> None:
    shorten(sandbox, None)
    person = join(sandbox, f"vera{secrets.token_hex(3)}")
    deposit(person)
    url = f"https://head.{sandbox.domain}:8443/users/{person.name}/late"
    person.ssh(write(person, "late", f"{3 * HOUR + 60} {url}", "+WantLocal = true"))
    until(lambda: not person.ssh("condor_q -af ClusterId"), 3 * HOUR + 600)
    *lines, status = person.ssh("cat late.out late.err").splitlines()
    assert status in ("200", "201") and len({line.split()[1] for line in lines}) >= 4


def test_a_session_of_two_lifetimes_writes_at_its_end(long: subprocess.Popen[str]) -> None:
    before, status, after = long.communicate(timeout=3 * LIFE)[0].split()
    assert status == "201" and claims(before)["exp"] < claims(after)["exp"]  # type: ignore[operator]


def test_an_untouched_notebook_writes_after_three_lifetimes(sandbox: Sandbox, untouched: Person) -> None:
    until(lambda: len(sandbox.exec("head", f"cat /home/{untouched.name}/untouched").split()) == 3, 4 * LIFE)
    before, status, after = sandbox.exec("head", f"cat /home/{untouched.name}/untouched").split()
    assert status == "201" and float(str(claims(after)["exp"])) - float(str(claims(before)["exp"])) >= 2 * LIFE


def test_suspended_credentials_are_gone_and_would_be_refused(sandbox: Sandbox, tilda: Person, first: str) -> None:
    kept = sandbox.exec("head", f"base64 -w0 {FOLDER}/{ME}/farmlet.top")
    session = tilda.start("echo up; exec sleep 300")
    assert session.stdout is not None and session.stdout.readline() == "up\n"
    sandbox.run("user", "suspend", ME)
    left = f"ls -d {FOLDER}/{ME}/* /run/farmlet-tokens/{ME} 2>/dev/null || true"
    until(lambda: sandbox.exec("head", left) == f"{FOLDER}/{ME}/farmlet.refused", 60)
    session.kill()
    session.wait()
    # who kept it has nothing of it
    store = f"rm farmlet.refused; echo {kept} | base64 -d > farmlet.top"
    sandbox.exec("head", f"cd {FOLDER}/{ME} && {store}; kill -HUP $(cat {FOLDER}/pid)")
    until(lambda: sandbox.exec("head", f"ls {FOLDER}/{ME}") == "farmlet.refused", 30)
    assert "invalid_grant: the membership was suspended" in sandbox.exec("head", f"cat {FOLDER}/{ME}/farmlet.refused")
