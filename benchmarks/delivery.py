"""From a token's renewal on the access point to the running job that reads it, on a drone.

    benchmarks/delivery.py FOLDER    the folder of a sandbox that is up; its facility gets a member for it

The job looks at its token five times a second; the monitor is told that a renewal is due. Clocks are one machine's.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import time
from pathlib import Path

from record import ROOT, record

sys.path.insert(0, str(ROOT / "tests" / "facility"))
from person import Person
from sandbox import FARMLET, Sandbox

ROUNDS = 10
REFRESH = 30  # seconds: SEC_CREDENTIAL_REFRESH of drones
FOLDER = "/var/lib/condor/oauth_credentials"
SUBMIT = """
executable = look.sh
use_oauth_services = farmlet
requirements = TARGET.FarmletSite =!= undefined
request_memory = 128
stream_output = true
output = look.out
log = look.log
queue
"""
LOOK = """#!/bin/sh
# a line for each token: when it was seen first, and its sum
while true; do
  sum=$(md5sum < "$BEARER_TOKEN_FILE")
  [ "$sum" = "$last" ] || echo "$(date +%s.%N) $sum"
  last=$sum
  sleep 0.2
done
"""


def join(sandbox: Sandbox) -> Person:
    person = Person.join(sandbox, f"bench{secrets.token_hex(3)}", "lab")
    while person.try_ssh("true").returncode:
        time.sleep(0.5)
    token = person.authorise("offline_access storage.read:/", client="batch").refresh_token
    subprocess.run(person.command("farmlet-credential --stdin"), input=token, text=True, check=True, capture_output=True)
    person.ssh(f"cat > look.sh <<'.'\n{LOOK}.\nchmod +x look.sh; cat > look.sub <<'.'\n{SUBMIT}.\ncondor_submit look.sub")
    return person


def follow(sandbox: Sandbox, person: Person) -> list[float]:
    """Seconds from a token's making to its being seen, ROUNDS times."""
    found = []
    use = f"{FOLDER}/{person.name}/farmlet.use"
    for _ in range(ROUNDS):
        due = f"touch -d @0 {use}; kill -HUP $(cat {FOLDER}/pid); sleep 3; stat -c %.9Y {use}; md5sum < {use}"
        made, total = sandbox.exec("head", due).splitlines()
        seen: list[str] = []
        while not seen:
            time.sleep(2)
            seen = [line for line in person.ssh("cat look.out").splitlines() if total.split()[0] in line]
        found.append(float(seen[0].split()[0]) - float(made))
        time.sleep(secrets.randbelow(REFRESH))
    return found


def main() -> None:
    folder = Path(sys.argv[1]).resolve()
    names = json.loads(subprocess.run([*FARMLET, "validate", "--json"], cwd=folder, capture_output=True, check=True).stdout)
    sandbox = Sandbox(folder, names["name"], names["domain"])
    person = join(sandbox)
    while not person.ssh("cat look.out 2>/dev/null || true"):
        time.sleep(2)
    try:
        values = follow(sandbox, person)
    finally:
        person.ssh("condor_rm -all")
    record("renewed token → in a running job", f"≤ {REFRESH + 2} s", "s", values, "at a random moment of the drone's interval")


if __name__ == "__main__":
    main()
