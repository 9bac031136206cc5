"""What ends when a membership ends, on real nodes, and what comes back with it."""

from __future__ import annotations

import secrets
import subprocess
import time
from collections.abc import Iterator

import pytest
from person import Person
from sandbox import Sandbox, until

pytestmark = [pytest.mark.facility, pytest.mark.usefixtures("running"), pytest.mark.timeout(900)]
BOUND = 60.0  # seconds from `farmlet user suspend` to nothing left, on a busy machine: figures are for benchmarks

JOBS = """
executable = job.sh
request_memory = 128
log = jobs.log
+WantLocal = {local}
queue {count}
"""
# it does not heed a polite request to end
JOB = "#!/bin/sh\ntrap '' TERM INT HUP\nwhile true; do sleep 7654; done\n"
# a workflow whose one job waits for ever
DAG = """
printf 'executable = /bin/true\\nrequirements = false\\nqueue\\n' > waits.sub
echo 'JOB waits waits.sub' > work.dag
condor_submit_dag work.dag > /dev/null
"""
# an IDTOKEN of the member's, used by somebody who has found it
FOUND = """
umask 077 && mkdir -p /root/found && cd /root/found
test -s token || condor_token_create -identity dora@{domain} -lifetime 3600 > token
export _CONDOR_SEC_CLIENT_AUTHENTICATION_METHODS=IDTOKENS
# for tools, since a facility says where theirs are
env _CONDOR_TOOL.SEC_TOKEN_DIRECTORY=/root/found condor_ping -type collector READ 2>&1 || true
"""
# a container image of few programs: nothing needs to be fetched
IMAGE = """
set -e
mkdir -p image
for one in sleep sh cat; do ldd /usr/bin/$one; done | grep -o '/[^ ]*' | sort -u |
    xargs tar -chf image.tar /usr/bin/sleep /usr/bin/sh /usr/bin/cat 2>/dev/null
podman import -q image.tar localhost/sleep
"""
# by the command that everybody knows, and without Docker
BUILD = """
set -e
mkdir -p built && echo 'of dora' > built/marker
cat > built/Dockerfile <<'.'
FROM localhost/sleep
COPY marker /marker
RUN ["/usr/bin/sh", "-c", "/usr/bin/cat /marker /marker > /twice"]
CMD ["/usr/bin/cat", "/twice"]
.
docker build --quiet --network none --tag fit built > /dev/null
docker run --rm --network none fit
docker images --format '{{.Repository}}' | grep fit
"""


def find_processes(sandbox: Sandbox, node: str, uid: int) -> str:
    """What runs on a node as that user or as one of the ids of their containers."""
    match = f"$2 == {uid} || int($2 / 65536) == {uid}"
    return sandbox.exec(node, f"ps -eo pid=,uid=,stat=,args= | awk '({match}) && $3 !~ /^Z/'")


@pytest.fixture(scope="module")
def dora(sandbox: Sandbox, running: Sandbox) -> Person:
    person = Person.join(sandbox, "dora", "lab")
    until(lambda: person.try_ssh("true").returncode == 0, 30)
    return person


# what no queue should be stopped by: one job is held, and one waits for ever
ODD = """
executable = /bin/true
requirements = false
+WantLocal = "a\tb"
queue
hold = true
+HoldReasonSubCode = "a b"
queue
"""


@pytest.fixture(scope="module", autouse=True)
def odd(sandbox: Sandbox, running: Sandbox) -> Iterator[None]:
    """Somebody else's jobs, with values that are none: whoever leaves and comes back does so all the same."""
    person = Person.join(sandbox, f"odo{secrets.token_hex(3)}", "lab")
    until(lambda: person.try_ssh(f"cat > odd.sub <<'.'\n{ODD}.\ncondor_submit -terse odd.sub").returncode == 0, 30)
    until(lambda: f'"{person.name}": 1' in sandbox.exec("service", "cat /var/lib/farmlet/overlay/demand.json"), 30)
    yield
    person.ssh("condor_rm -all")


def leave_running(person: Person, own: int = 1, drones: int = 1) -> subprocess.Popen[str]:
    """Everything that a member can leave running, so many jobs on the facility's own slots and on drones; the open session."""
    session = person.start("echo up; exec sleep 7001")
    assert session.stdout is not None and session.stdout.readline() == "up\n"
    person.ssh("nohup setsid sleep 7002 >/dev/null 2>&1 </dev/null & tmux new-session -d 'sleep 7003'")
    person.ssh("systemd-run --user --quiet --property=Restart=always sleep 7004")
    person.ssh("echo '* * * * * exec sleep 7005' | crontab - && echo 'exec sleep 7006' | at -q b now + 1 hour 2>/dev/null")
    # not at once: podman's own first start in this account, by its unit at log-in, may not have made all folders yet
    contain = IMAGE + "podman run -d --network none --user 1000 localhost/sleep /usr/bin/sleep 7007"
    until(lambda: person.try_ssh(contain).returncode == 0, 60)
    person.ssh(f"cat > job.sh <<'.'\n{JOB}.\nchmod +x job.sh")
    for local, count in (("true", own), ("false", drones)):
        person.ssh(f"cat > jobs.sub <<'.'\n{JOBS.format(local=local, count=count)}.\ncondor_submit -terse jobs.sub")
    person.ssh(DAG)
    until(lambda: sorted(person.ssh("condor_q -af JobStatus").split()) == ["1", *(own + drones + 1) * ["2"]], 120)
    return session


@pytest.fixture
def busy(dora: Person) -> Iterator[int]:
    """A member who left everything running; their uid."""
    session = leave_running(dora)
    yield int(dora.ssh("id -u"))
    session.kill()
    session.wait()


def test_suspended_nothing_is_left_and_nothing_new_begins(sandbox: Sandbox, dora: Person, busy: int) -> None:
    found = find_processes(sandbox, "head", busy)
    for number in range(7001, 7005):
        assert f"sleep {number}" in found
    assert "condor_dagman" in found and "succeeded as dora@" in sandbox.exec("service", FOUND.format(domain=sandbox.domain))
    assert "sleep 7007" in found
    until(lambda: sandbox.exec("tier1", "pgrep -f 'sleep 765[4]' || true"), 30)  # the queue calls a job running before it begins
    sandbox.run("user", "suspend", "dora")
    ended = {
        "new log-ins": lambda: dora.try_ssh("true").returncode == 255,
        "processes": lambda: not any(find_processes(sandbox, node, busy) for node in ("head", "service")),
        "jobs": lambda: set(sandbox.exec("head", "condor_q -all -constraint 'Owner==\"dora\"' -af JobStatus").split()) == {"5"},
        "jobs at the site": lambda: not sandbox.exec("tier1", "pgrep -f 'sleep 765[4]' || true"),
        "crontab": lambda: not sandbox.exec("head", "find /var/spool/cron/crontabs -name dora"),
        "IDTOKEN": lambda: "succeeded as dora@" not in sandbox.exec("service", FOUND.format(domain=sandbox.domain)),
        "at jobs": lambda: sandbox.exec("head", f"find /var/spool/cron/atjobs -uid {busy}") == "",
    }
    for gone in ended.values():
        until(gone, BOUND)
    time.sleep(6)  # a user's service that starts itself again, a cron line that comes due
    assert not find_processes(sandbox, "head", busy)
    assert "dora" in sandbox.exec("head", "ls /home")
    said = dora.try_ssh("true")
    assert said.returncode == 255


def test_back_again_log_in_home_crontab_and_jobs_are_there(sandbox: Sandbox, dora: Person) -> None:
    sandbox.run("user", "resume", "dora")
    until(lambda: dora.try_ssh("true").returncode == 0, 15)
    assert "sleep 7005" in dora.ssh("crontab -l")
    until(lambda: set(dora.ssh("condor_q -af JobStatus").split()) <= {"1", "2"}, 20)
    assert dora.ssh("test -f jobs.sub && condor_q -af JobStatus | wc -l") == "4"
    # the second finds nothing where the first was quick
    dora.ssh("crontab -r; condor_rm -all; condor_rm -all -forcex || true")
    until(lambda: dora.ssh("condor_q -af JobStatus") == "", 20)
    sandbox.exec("service", "rm -rf /root/found")


def test_docker_is_podman_of_ones_own(sandbox: Sandbox, dora: Person) -> None:
    assert dora.ssh(IMAGE + BUILD).splitlines()[-3:] == ["of dora", "of dora", "localhost/fit"]
    assert "podman" not in sandbox.exec("head", "docker version").lower(), "root's is Docker"
    assert dora.try_ssh("/usr/bin/docker version").returncode, "which nobody else reaches"
