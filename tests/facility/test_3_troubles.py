"""Tokens while something is the matter: the issuer is away, credd is killed, members write odd things into jobs."""

from __future__ import annotations

import random
import secrets
import shlex
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from threading import Thread

import pytest
from jobs import FOLDER, LIFE, claims, deposit, join, secret, shorten, write
from person import Person
from sandbox import Sandbox, until

from farmlet.parts.overlay.deploy import TOLD
from farmlet.parts.tokens.queue import NEED

pytestmark = [
    pytest.mark.facility,
    pytest.mark.disturbs("tokens", "identity"),
    pytest.mark.usefixtures("running"),
    pytest.mark.timeout(900),
]
# seconds after which something is killed
PAUSES = [[0.0, 0.05, 0.2], pytest.param([random.random() for _ in range(30)], marks=pytest.mark.soak)]
STORE = "condor_store_cred query-oauth -s farmlet"
# writes every two seconds, whatever comes of it: the time, the status, the end of the token
PATIENT = """#!/usr/bin/env python3
import base64, json, os, sys, time, urllib.error, urllib.request
until = time.time() + float(sys.argv[1])
while time.time() < until:
    token = open(os.environ["BEARER_TOKEN_FILE"]).read()
    part = token.split(".")[1]
    request = urllib.request.Request(sys.argv[2], b"again", {"Authorization": f"Bearer {token}"}, method="PUT")
    try:
        said = urllib.request.urlopen(request).status
    except urllib.error.HTTPError as error:
        said = error.code
    print(int(time.time()), said, json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))["exp"], flush=True)
    time.sleep(2)
"""
# an expression that takes ages, and a list that fills the memory when it is printed
ODD = "\n".join(["+A0 = 1", *(f"+A{n} = A{n - 1} + A{n - 1}" for n in range(1, 40)), "+OAuthServicesNeeded = A39"])
NOWHERE = """executable = /bin/true
requirements = TARGET.FarmletSite =?= "nowhere"
request_memory = 128
queue
"""
DEEP = f"+OAuthServicesNeeded = {'{' * 500}1{'}' * 500}"


@pytest.fixture(scope="module", autouse=True)
def never(sandbox: Sandbox, running: Sandbox) -> Iterator[str]:
    """A job that no drone takes, in the queue from the start: nobody else has jobs for drones here, so that they become free."""
    nicodemus = Person.join(sandbox, "nicodemus", "lab")
    until(lambda: nicodemus.try_ssh("true").returncode == 0, 30)
    number = nicodemus.ssh(f"condor_submit -terse - <<'.'\n{NOWHERE}.\n").split(" ")[0]
    yield f"{number} of nicodemus at head.{sandbox.domain}"
    nicodemus.ssh("condor_rm -all")


@pytest.fixture(scope="module")
def iris(sandbox: Sandbox, running: Sandbox) -> Iterator[Person]:
    """Has a credential, and tokens of half a minute."""
    shorten(sandbox, LIFE // 2)
    person = join(sandbox, f"iris{secrets.token_hex(3)}")
    person.ssh(f"cat > patient.py <<'.'\n{PATIENT}.\nchmod +x patient.py")
    deposit(person)
    yield person
    shorten(sandbox, None)


def test_what_a_member_writes_into_a_job_neither_ends_nor_delays_the_monitor(sandbox: Sandbox, iris: Person) -> None:
    for name, words in (("odd", ODD), ("deep", DEEP)):
        iris.ssh(f"cat > {name}.sub <<'.'\nexecutable = job.py\nhold = true\n{words}\nqueue\n.\ncondor_submit {name}.sub")
    before = sandbox.exec("head", f"cat {FOLDER}/pid")
    look = shlex.join(["timeout", "10", "condor_q", "-allusers", "-constraint", NEED, "-json"])
    assert "OAuthServicesNeeded" not in sandbox.exec("head", look).replace('"OAuthServicesNeeded": "farmlet', "")
    sandbox.exec("head", f"rm {FOLDER}/CREDMON_COMPLETE; kill -HUP {before}")
    until(lambda: sandbox.exec("head", f"test -e {FOLDER}/CREDMON_COMPLETE && echo yes || true") == "yes", 20)
    assert sandbox.exec("head", f"cat {FOLDER}/pid") == before
    iris.ssh("condor_rm -constraint 'JobStatus == 5'")


def test_jobs_go_on_when_the_issuer_is_back_after_three_lifetimes(sandbox: Sandbox, iris: Person) -> None:
    url = f"https://head.{sandbox.domain}:8443/users/{iris.name}/again"
    iris.ssh(write(iris, "patient", f"600 {url}", "executable = patient.py\n+WantLocal = true"))
    until(lambda: wrote(iris, 0), 120)
    sandbox.exec("service", "systemctl stop farmlet-identity.socket farmlet-identity.service")
    try:
        time.sleep(3 * LIFE / 2)
        last = max(end for _, _, end in read(iris))
    finally:
        sandbox.exec("service", "systemctl start farmlet-identity.socket farmlet-identity.service")
    assert last < time.time(), "its token has ended meanwhile"
    until(lambda: wrote(iris, last + 1), 150)
    assert iris.ssh("condor_q -af JobStatus") == "2"
    iris.ssh("condor_rm -all")


def read(person: Person) -> list[list[int]]:
    said = person.ssh("cat patient.out 2>/dev/null || true").splitlines()
    return [[int(word) for word in line.split()] for line in said if line.count(" ") == 2]


def wrote(person: Person, since: int) -> bool:
    """Whether the job has written with a token that ends after `since`."""
    return any(status in (200, 201) and end >= since for _, status, end in read(person))


def test_who_stores_a_credential_while_credd_is_killed_has_the_old_one_or_the_new(sandbox: Sandbox, iris: Person) -> None:
    words = iris.command("farmlet-credential --stdin")
    for pause in (0.0, 0.1, 0.3):
        token = iris.authorise("offline_access storage.read:/", client="batch").refresh_token
        with subprocess.Popen(words, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as storing:
            Thread(target=storing.communicate, args=(token,)).start()
            time.sleep(pause)
            sandbox.exec("head", "pkill -9 -x condor_credd || true")
        assert secret(sandbox, iris.name), pause
        until(partial(stores, iris), 60)


def stores(person: Person) -> bool:
    """Whether a credential can be stored; a new one, since one that was not is ended at the issuer."""
    try:
        deposit(person)
    except subprocess.CalledProcessError:
        return False
    return True


@pytest.mark.parametrize("pauses", PAUSES, ids=["some", "many"])
def test_killed_at_any_moment_the_tokens_are_as_before(sandbox: Sandbox, iris: Person, pauses: list[float]) -> None:
    narrow = f"farmlet_oauth_permissions_in = storage.read:/users/{iris.name}\n"
    narrow += f"farmlet_oauth_resource_in = https://head.{sandbox.domain}:8443\nhold = true\n"
    iris.ssh(write(iris, "narrow", "0 x", narrow))  # a token more
    look = f"stat -c '%n %a %U' {FOLDER}/{iris.name}/*.use"
    before = sandbox.exec("head", look)
    for pause in pauses:
        until(lambda: sandbox.exec("head", "pgrep -x condor_credd || true"), 60)  # started anew after the last time
        # renewals are due at once, and the monitor is ended somewhere within them
        due = f"touch -d @0 {FOLDER}/{iris.name}/*.use; kill -HUP $(cat {FOLDER}/pid)"
        sandbox.exec("head", f"{due}; sleep {pause}; kill -9 $(cat {FOLDER}/pid); pkill -9 -x condor_credd")
        until(lambda: sandbox.exec("head", f"kill -0 $(cat {FOLDER}/pid) 2>/dev/null && echo up || true"), 60)
        until(lambda: are_fresh(sandbox, iris.name, before), 60)
        assert sandbox.exec("head", look) == before
    until(lambda: iris.try_ssh(STORE).returncode == 0, 60)


def are_fresh(sandbox: Sandbox, name: str, before: str) -> bool:
    """Whether each token was made anew and is good for a while still."""
    said = sandbox.exec("head", f"cd {FOLDER}/{name} && for i in *.use; do stat -c %Y $i; cat $i; echo; done").split()
    made, tokens = [int(word) for word in said[::2]], said[1::2]
    good = all(float(str(claims(text)["exp"])) > time.time() + LIFE / 6 for text in tokens)
    return len(tokens) == len(before.splitlines()) and all(made) and good


def test_a_job_that_free_drones_do_not_take_keeps_none(sandbox: Sandbox, never: str) -> None:
    until(lambda: never in sandbox.exec("service", f"cat {TOLD}"), 180)
    (job,) = sandbox.json("explain", "job", never.partition(" ")[0])["jobs"]
    assert (job["state"], job["site"], job["reasons"][0]["code"]) == ("idle", "", "site")
