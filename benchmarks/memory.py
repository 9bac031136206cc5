"""Memory of the idle sandbox: resident memory of every process in all its containers (anonymous memory; caches not counted)."""

from __future__ import annotations

import json
import subprocess
import time

from record import farmlet, record

farmlet("up")
time.sleep(30)
name = json.loads(farmlet("status", "--json"))["facility"]
command = ["docker", "ps", "-q", "--filter", f"label=farmlet.facility={name}"]
containers = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
# PSS counts a page that several processes share once, divided among them
script = "cat /proc/[0-9]*/smaps_rollup 2>/dev/null | awk '/^Pss:/ {sum += $2} END {print sum}'"


def total() -> float:
    each = [
        subprocess.run(["docker", "exec", one, "sh", "-c", script], capture_output=True, text=True, check=True)
        for one in containers
    ]
    return sum(int(done.stdout) for done in each) / 1048576


values = []
for _ in range(3):
    values.append(total())
    time.sleep(5)
record("idle sandbox, all containers", "≤ 2.5 GB", "GiB", values, "proportional set size of all processes, 30 s after `up`")
