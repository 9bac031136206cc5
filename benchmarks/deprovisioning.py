"""From `farmlet user suspend` until nothing of the member runs, waits or is kept anywhere; from a change of groups until the
next start of a notebook heeds it.

The member has a notebook, an open session, tmux, a service of their own, a cron line, an at job, a rootless container,
a workflow, five jobs that do not heed a polite request (three of them on drones), and a stored credential. Each place
is looked at by a program of its own, some five times a second; the slowest place is the figure.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from logins import facility, wait
from record import ROOT, record

sys.path.insert(0, str(ROOT / "tests" / "facility"))
import notebooks
from person import Person
from sandbox import Sandbox
from test_3_leaving import leave_running

from farmlet.demo.notebook import Hub
from farmlet.errors import FarmletError

ROUNDS = int(os.environ.get("ROUNDS", "10"))
CREDENTIALS, SESSIONS = "/var/lib/condor/oauth_credentials", "/run/farmlet-tokens"
PROCESSES = "ps -eo pid=,uid=,stat=,args= | awk '($2 == {uid} || int($2 / 65536) == {uid}) && $3 !~ /^Z/'"
# node and a command that says something as long as something is left
PLACES = {
    "processes": ("head", PROCESSES),
    "processes of the service node": ("service", PROCESSES),
    "jobs": ("head", "condor_q -all -constraint 'Owner==\"{name}\"' -af JobStatus | grep -v 5"),
    "jobs at the site": ("tier1", "pgrep -f 'sleep 765[4]'"),
    "notebook": ("head", "docker ps --quiet --filter label=farmlet.member={name}"),
    "cron": ("head", "find /var/spool/cron/crontabs -name {name}"),
    "at": ("head", "find /var/spool/cron/atjobs -uid {uid}"),
    "credentials": ("head", f"find {CREDENTIALS}/{{name}} {SESSIONS}/{{name}} -type f -size +0 ! -name '*.refused'"),
}


def look(sandbox: Sandbox, node: str, command: str) -> str:
    words = ["docker", "exec", sandbox.container(node), "sh", "-c", command]
    return subprocess.run(words, capture_output=True, text=True).stdout.strip()


def store(person: Person) -> None:
    token = person.authorise("offline_access storage.read:/", client="batch").refresh_token
    subprocess.run(person.command("farmlet-credential --stdin"), input=token, text=True, check=True, capture_output=True)


def measure(sandbox: Sandbox, person: Person) -> dict[str, float]:
    """Seconds until each place is empty."""
    session = leave_running(person, own=2, drones=3)
    uid = person.ssh("id -u")
    places = {what: (node, command.format(name=person.name, uid=uid)) for what, (node, command) in PLACES.items()}
    for what, place in places.items():
        if what != "processes of the service node":
            wait(lambda place=place: look(sandbox, *place))  # a job counts as running before its program does
    began = time.monotonic()
    with ThreadPoolExecutor(max_workers=len(places)) as pool:
        sandbox.run("user", "suspend", person.name)

        def follow(place: tuple[str, str]) -> float:
            while look(sandbox, *place):
                time.sleep(0.2)
            return time.monotonic() - began

        found = dict(zip(places, pool.map(follow, places.values()), strict=True))
    session.kill()
    session.wait()
    return found


def change(sandbox: Sandbox, hub: Hub, person: Person) -> Iterator[float]:
    """Seconds from the command that takes their group and from the one that gives it, until the Hub heeds it at a start."""
    for verb, word in (("leave", "You may not have a notebook"), ("join", "99 cores: you may have")):

        def heeds(word: str = word) -> bool:
            try:
                person.browser.call("POST", f"{hub.url}/hub/api/users/{person.name}/server", hub.headers, {"cores": 99})
            except FarmletError as refused:
                return word in str(refused)
            return False

        sandbox.run("user", verb, person.name, "--group", "lab")
        yield wait(heeds)


def main() -> None:
    with facility() as sandbox:
        rounds, changes = [], []
        for _ in range(ROUNDS):
            person = Person.join(sandbox, f"former{secrets.token_hex(3)}", "lab")
            wait(lambda person=person: person.try_ssh("true").returncode == 0)
            store(person)
            hub = notebooks.enter(person)
            hub.log_in()
            changes += change(sandbox, hub, person)
            wait(lambda person=person: person.try_ssh("true").returncode == 0)
            hub.start()
            rounds.append(measure(sandbox, person))
            sandbox.run("user", "remove", person.name)
    slowest = [max(one, key=one.__getitem__) for one in rounds]
    what = "notebook, sessions, processes, container, cron, at, 6 jobs (3 on drones) and credential"
    note = f"{what}; the slowest place: {slowest[0]}"
    record("suspend → nothing left on any node", "≤ 10 s", "s", [max(one.values()) for one in rounds], note)
    record("suspend → notebook gone", "≤ 10 s", "s", [one["notebook"] for one in rounds], "its container, on Docker")
    record("group changed → heeded at the next start of a notebook", "≤ 5 s", "s", changes, "taken and given, after the command")
    record("suspend → credentials gone", "≤ 10 s", "s", [one["credentials"] for one in rounds], "of jobs and of sessions")


if __name__ == "__main__":
    main()
