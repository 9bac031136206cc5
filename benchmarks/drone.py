"""submit → running on a drone that did not exist. The job itself notes when it started; clocks are one machine's."""

from __future__ import annotations

import json
import time

from record import farmlet, record

RUNS = 5
SUBMIT = """
cd && rm -f bench.out bench.log
cat > bench.sub <<'END'
executable = /bin/sh
arguments = "-c 'date +%s.%N'"
transfer_executable = False
should_transfer_files = YES
requirements = (FarmletSite =!= undefined)
request_cpus = 1
request_memory = 200M
output = bench.out
log = bench.log
queue
END
date +%s.%N
condor_submit -terse bench.sub >/dev/null
"""
WAIT = "cd && timeout 120 condor_wait bench.log >/dev/null; cat bench.out"
DRONES = "condor_status -constraint 'TardisDroneUuid =!= undefined' -af Name | wc -l"


def shell(node: str, script: str, user: str = "") -> str:
    command = ["runuser", "-l", user, "-c", script] if user else ["sh", "-c", script]
    return farmlet("node", "exec", node, "--", *command).strip()


def wait_for_none() -> None:
    end = time.monotonic() + 180
    while int(shell("service", DRONES)):
        if time.monotonic() > end:
            raise SystemExit("drones do not leave")
        time.sleep(2)


user = f"bench{int(time.time()) % 100000}"
farmlet("user", "add", user, "--group", "lab")
end = time.monotonic() + 60
while user not in shell("head", f"ls -d /home/{user} 2>/dev/null || true"):
    if time.monotonic() > end:
        raise SystemExit("the account does not appear")
    time.sleep(1)
seconds = []
for _ in range(RUNS):
    wait_for_none()
    submitted = float(shell("head", SUBMIT, user))
    seconds.append(float(shell("head", WAIT, user)) - submitted)
farmlet("user", "remove", user)
assert json.loads(farmlet("status", "--json"))["facility"]
record(
    "submit → running on a new drone",
    "≤ 15 s",
    "s",
    seconds,
    "no drone existed; time of condor_submit to the first line of the job",
)
