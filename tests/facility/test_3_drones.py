"""What a job at a site sees of others: real jobs, by each way to have HTCondor do something outside of the container."""

from __future__ import annotations

import os
import re
import secrets
import shlex
import subprocess

import pytest
from person import Person
from sandbox import Sandbox, until
from terminal import Terminal

pytestmark = [pytest.mark.facility, pytest.mark.usefixtures("running"), pytest.mark.timeout(300)]

TOKEN = "eyJ[A-Za-z0-9_-]{16,}[.]eyJ"
# writes where it finds tokens, and which programs run
LOOK = f"""#!/bin/bash
cd "${{1:-.}}"
skip=$(printf ' --exclude-dir=%s' proc sys dev usr cvmfs)
grep -rlsIE $skip '{TOKEN}' / /proc/[0-9]*/root/home /proc/[0-9]*/root/var | sed 's/^/token: /' > seen
cat /proc/[0-9]*/comm >> seen
"""
# A plugin for transfers is told by arguments where to say what became of them.
PLUGIN = """#!/bin/bash
here=$(dirname "$(realpath "$0")")
"$here/look.sh" "$here"
while [ $# -gt 0 ]; do
  [ "$1" != -outfile ] || echo '[ TransferUrl = "evil://x"; TransferSuccess = true ]' > "$2"
  shift
done
"""
PAYLOAD = """#!/bin/bash
case $1 in
  link) ln -s /home/drone/farmlet-@DOMAIN@ link ;;
  bind) ./look.sh; printf %s "$ODD" > odd ;;
  plugin) cp seen brought && mv brought seen ;;
  stay) sleep 600 ;;
  disk) head -c 64M /dev/zero > large; sleep 600 ;;
esac
"""
SUBMIT = """
executable = payload.sh
arguments = {kind}
initialdir = {kind}
transfer_input_files = ../look.sh, ../plugin.sh
request_memory = 128
hold = {hold}
priority = {priority}
{more}
queue
"""
ODD = "price $5 $(id) `id` 'one' \\ %s"  # which a shell would make something else of
WRITTEN = ODD.replace("'", "''").replace("$", "$(DOLLAR)")  # for HTCondor
THEIRS = "/home/drone/.ssh/authorized_keys"


def trick(command: str) -> str:
    """Undefined as long as a slot stands beside the job; a command for the starter, which evaluates without one."""
    return f'ifThenElse(TARGET.Cpus =?= undefined, "{command}", undefined)'


# members cannot submit these (see below): the admin makes them of jobs that wait
COMMANDS = {"pre": ("PreCmd", "look.sh"), "post": ("PostCmd", "look.sh"), "plugin": ("TransferPlugins", "evil=plugin.sh")}
PATHS = {
    "link": "transfer_output_files = link/",
    "output": f"+TransferOutput = {trick(THEIRS)}",
}
OTHERS = {
    "bind": f"""environment = "APPTAINER_BIND=/:/mnt SINGULARITY_BIND=/:/mnt ODD='{WRITTEN}'\"""",
    "stay": "",
    "disk": "request_disk = 16M",
    "grown": "requirements = false",
    "swapped": "requirements = false",
}


@pytest.fixture(scope="module")
def mallory(sandbox: Sandbox, running: Sandbox) -> Person:
    """A member who has submitted all of these."""
    person = Person.join(sandbox, f"mallory{secrets.token_hex(2)}", "lab")
    until(lambda: person.try_ssh("true").returncode == 0, 30)
    payload = PAYLOAD.replace("@DOMAIN@", sandbox.domain)
    texts = {"look.sh": LOOK, "plugin.sh": PLUGIN, "payload.sh": payload}
    for kind in COMMANDS:
        texts[f"{kind}.sub"] = SUBMIT.format(kind=kind, hold="true", priority=1, more="")
    for kind, more in (PATHS | OTHERS).items():
        # last, those whose files are not found: their slots are free again only after a minute (MachineMaxVacateTime)
        priority = 2 if kind == "disk" else int(kind in OTHERS)
        texts[f"{kind}.sub"] = SUBMIT.format(kind=kind, hold="false", priority=priority, more=more)
    script = "".join(f"printf %s {shlex.quote(text)} > {name}\n" for name, text in texts.items())
    # first, the one that is held by its disk: in a slot that another job of hers left it would have that one's
    kinds = " ".join(sorted(COMMANDS | PATHS | OTHERS, key=lambda kind: kind != "disk"))
    person.ssh(f"{script} chmod +x *.sh; mkdir {kinds}; for one in {kinds}; do condor_submit $one.sub; done")
    for kind, (name, command) in COMMANDS.items():
        edits = f"{name} {shlex.quote(trick(command))}"
        if kind == "plugin":
            edits += """ TransferInput '"../look.sh,../plugin.sh,evil://x"'"""
        sandbox.exec("head", f"condor_qedit {find(person, kind)} {edits}")
    swap = f"condor_qedit {find(person, 'swapped')} ContainerImage '\"docker://python:3.12-slim\"'"
    person.ssh(f"{swap}; condor_qedit {find(person, 'grown')} RequestCpus 9; condor_release -all")
    return person


def find(person: Person, kind: str) -> str:
    """The number of its job in the queue, if it is still there."""
    return person.ssh(f"condor_q -constraint 'Args == \"{kind}\"' -af ClusterId")


def explain(sandbox: Sandbox, number: str) -> tuple[str, str, str]:
    """State, site and code of the first reason, as an admin is told."""
    (job,) = sandbox.json("explain", "job", f"{number}.0")["jobs"]
    return job["state"], job["site"], job["reasons"][0]["code"] if job["reasons"] else ""


def reason(person: Person, kind: str) -> str:
    """Why its job is held, if it is."""
    return person.ssh(f"condor_q -constraint 'Args == \"{kind}\" && JobStatus == 5' -af HoldReason")


@pytest.fixture(scope="module")
def outside(sandbox: Sandbox, mallory: Person) -> str:
    """What the site's account finds outside of the container, once there were drones."""
    until(lambda: not find(mallory, "pre"), 240)
    return sandbox.exec("tier1", f"cd $(mktemp -d) && chown drone . && runuser -u drone -- bash -c {shlex.quote(LOOK)}; cat seen")


@pytest.mark.parametrize("kind", [*COMMANDS, "bind"])
def test_what_runs_outside_of_the_container_finds_nothing_of_others(mallory: Person, outside: str, kind: str) -> None:
    until(lambda: not find(mallory, kind), 240)
    seen = set(mallory.ssh(f"cat {kind}/seen").splitlines())
    assert not [line for line in seen if line.startswith("token: ")]
    assert not seen & {"condor_startd", "condor_master"}
    # it did run there, and would have found them
    assert ("condor_starter" in seen) is (kind != "bind")
    assert f"token: /home/drone/farmlet-{mallory.sandbox.domain}" in outside


def test_the_environment_arrives_as_it_was_written(mallory: Person) -> None:
    until(lambda: not find(mallory, "bind"), 240)
    assert mallory.ssh("cat bind/odd") == ODD


@pytest.mark.parametrize("kind", PATHS)
def test_files_of_others_are_not_brought_home(sandbox: Sandbox, mallory: Person, kind: str) -> None:
    until(lambda: reason(mallory, kind) or not find(mallory, kind), 240)
    assert "No such file or directory" in reason(mallory, kind)
    assert not mallory.ssh(f"grep -rlE '{TOKEN}|ssh-ed25519' {kind} || true")
    assert sandbox.exec("tier1", f"cat {THEIRS}").count("ssh-ed25519") == 1


def test_more_scratch_than_was_asked_for_holds_a_job(mallory: Person) -> None:
    until(lambda: reason(mallory, "disk"), 280)  # once there is a slot: other tests have jobs at the site as well
    assert "disk usage exceeded request_disk" in reason(mallory, "disk")


def test_nobody_logs_in_to_a_drone_or_is_told_whose_jobs_it_runs(sandbox: Sandbox, mallory: Person) -> None:
    until(lambda: mallory.ssh("condor_q -constraint 'Args == \"stay\"' -af JobStatus") == "2", 240)
    drone = mallory.ssh("condor_q -constraint 'Args == \"stay\"' -af RemoteHost").partition("@")[2]
    address = shlex.quote(mallory.ssh(f"condor_status slot1@{drone} -af MyAddress"))
    said = sandbox.exec("tier1", f"runuser -u nobody -- timeout 60 condor_status -direct {address} -af Name 2>&1 || true")
    assert "Failed to authenticate" in said, said
    assert explain(sandbox, find(mallory, "stay")) == ("running", "tier1", "")
    tried = mallory.try_ssh(f"timeout 60 condor_ssh_to_job {find(mallory, 'stay')} true")
    assert tried.returncode not in (0, 124), tried
    mallory.ssh(f"condor_rm {find(mallory, 'stay')}")


@pytest.mark.parametrize("name", ["PreCmd", "PostCmd", "ToolDaemonCmd", "TransferPlugins"])
def test_commands_beside_the_payload_are_refused_when_they_are_submitted(mallory: Person, name: str) -> None:
    for value in ('"look.sh"', trick("look.sh")):
        said = mallory.try_ssh(f"(echo {shlex.quote(f'+{name} = {value}')}; cat stay.sub) | condor_submit")
        assert said.returncode and "drones run nothing outside of the container" in said.stderr, said
    edited = mallory.try_ssh(f"condor_qedit {find(mallory, 'grown')} {name} '\"look.sh\"'")
    assert edited.returncode, edited


def submit(person: Person, *lines: str) -> subprocess.CompletedProcess[str]:
    """With a size of one's own, or none."""
    more = shlex.quote("\n".join((*lines, "queue", "")))
    return person.try_ssh(f"(grep -v -e ^request_memory -e ^queue stay.sub; printf %s {more}) | condor_submit")


@pytest.mark.parametrize("own", [(), ("+WantLocal = true",)], ids=["drones", "own"])
def test_no_job_runs_in_another_image_than_it_names(mallory: Person, own: tuple[str, ...]) -> None:
    for image in (
        "container_image = docker://python:3.12-slim",
        "universe = docker\ndocker_image = python:3.12-slim",
        '+SingularityImage = "docker://python:3.12-slim"',
        "container_image = ./folder/",
    ):
        said = submit(mallory, image, *own)
        assert said.returncode and "container_image = /cvmfs/unpacked/analysis, or in a .sif file of yours" in said.stderr, said
    until(lambda: "slot fetches images" in reason(mallory, "swapped"), 60)


def test_names_that_would_be_others_are_refused(mallory: Person) -> None:
    for word in ("output", "error"):
        said = submit(mallory, f"{word} = kept;away")
        assert said.returncode and "without a semicolon" in said.stderr, said


def test_interactive_jobs_are_told_at_once_where_they_run(mallory: Person) -> None:
    said = mallory.try_ssh("timeout 90 condor_submit -i stay.sub")
    assert said.returncode and "drones let nobody in" in said.stderr, said
    mallory.ssh("(grep -v ^queue stay.sub; echo +WantLocal = true; echo queue) > inner.sub")
    with Terminal(mallory, "condor_submit -i inner.sub") as terminal:
        os.write(terminal.primary, b"hostname; exit\n")
        # beside the prompt of the job's shell; her group gets no more cores while slots of hers are being given up, a minute long
        terminal.read(rf"[^@.]head\.{re.escape(mallory.sandbox.domain)}\r", 150)


def test_admins_are_told_why_a_job_is_where_it_is(sandbox: Sandbox, mallory: Person) -> None:
    ended = mallory.ssh("condor_history -constraint 'Args == \"bind\"' -limit 1 -af ClusterId")
    assert explain(sandbox, ended) == ("completed", "tier1", "ended")
    until(lambda: reason(mallory, "swapped"), 60)
    said = sandbox.run("explain", "job", f"{find(mallory, 'swapped')}.0").stdout
    assert f" of {mallory.name} (lab), submitted on head.{sandbox.domain}: held since 20" in said
    assert "slot fetches images" in said and "`condor_rm " in said
    sandbox.run("explain", "job", "999999.0", code=2)


def test_what_no_drone_takes_does_not_wait_for_ever(mallory: Person) -> None:
    for more in ("request_cpus = 2", "request_memory = 3G", "request_gpus = 1"):
        said = submit(mallory, more)
        assert said.returncode and re.search("drones have no more than request_cpus = 1", said.stderr), said
    for more in ("request_cpus = 3", "request_memory = 9G"):
        said = submit(mallory, more, "+WantLocal = true")
        assert said.returncode and "the facility's own nodes have no slot for that" in said.stderr, said
    until(lambda: "drones have no more than request_cpus = 1" in reason(mallory, "grown"), 60)
    mallory.ssh("condor_rm -all")
