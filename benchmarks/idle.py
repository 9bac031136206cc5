"""What a sandbox costs that nobody uses, unit by unit: processor time of a while, and memory.

Of each process the time it used itself and that of its children that have ended goes to the systemd unit it is in; commands that
are begun and end in between are thereby counted with who began them. Memory is the proportional set size.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections import Counter

from logins import facility
from record import record

SECONDS = int(os.environ.get("SECONDS_MEASURED", "120"))
CALM = int(os.environ.get("CALM", "120"))  # seconds until what `up` began has come to its end
PARTS = ("farmlet-exporter", "farmlet-vmagent", "farmlet-push", "farmlet-store", "farmlet-store-door", "farmlet-rules")
MONITORING = (*PARTS, "farmlet-alarms", "farmlet-monitoring")
LOOK = r"""
import json, os, re
found = {}
for pid in filter(str.isdecimal, os.listdir("/proc")):
    try:
        words = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()
        groups = open(f"/proc/{pid}/cgroup").read()
        memory = re.search(r"^Pss: +(\d+)", open(f"/proc/{pid}/smaps_rollup").read(), re.M)
    except OSError:
        continue
    unit = re.search(r"name=systemd:(.*)", groups).group(1).rpartition("/")[2] or "commands"
    unit = "systemd" if pid == "1" else re.sub(r"\.(service|scope)$", "", unit)
    found[f"{pid} {words[19]}"] = unit, sum(map(int, words[11:15])) / os.sysconf("SC_CLK_TCK"), int(memory[1]) if memory else 0
print(json.dumps(found))
"""


def look(container: str) -> dict[str, tuple[str, float, int]]:
    """Of each process: unit, seconds, KiB."""
    done = subprocess.run(["docker", "exec", container, "python3", "-c", LOOK], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def spend(before: dict[str, tuple[str, float, int]], after: dict[str, tuple[str, float, int]]) -> Counter[str]:
    """Seconds of each unit in between. What ended is in what its unit's other processes have waited for."""
    spent = Counter[str]()
    for sign, seen in ((-1, before), (1, after)):
        for unit, seconds, _ in seen.values():
            spent[unit] += sign * seconds
    return spent


def main() -> None:
    with facility() as sandbox:
        command = ["docker", "ps", "--format", "{{.Names}}", "--filter", f"label=farmlet.facility={sandbox.name}"]
        measure(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def measure(containers: list[str]) -> None:
    time.sleep(CALM)
    before, began = {one: look(one) for one in containers}, time.monotonic()
    time.sleep(SECONDS)
    after, took = {one: look(one) for one in containers}, time.monotonic() - began
    shares = Counter(
        {(one, unit): 100 * value / took for one in containers for unit, value in spend(before[one], after[one]).items()}
    )
    memory = Counter[tuple[str, str]]()
    for one in containers:
        for unit, _, size in after[one].values():
            memory[one, unit] += size / 1024
    load = f"{took:.0f} s; load average {os.getloadavg()[1]:.0f} on {os.cpu_count()} cores"
    for (one, unit), share in shares.most_common(45):
        print(f"{one.rpartition('-')[2]:8} {unit:32} {share:6.2f} % {memory[one, unit]:7.1f} MiB")
    report(shares, memory, load)


def report(shares: Counter[tuple[str, str]], memory: Counter[tuple[str, str]], load: str) -> None:
    most = ", ".join(f"{unit} on {one.rpartition('-')[2]} {share:.1f} %" for (one, unit), share in shares.most_common(5))
    record("idle sandbox: share of a core", "reported", "%", [shares.total()], f"all containers, {load}; most of it {most}")
    for node in sorted({one for one, _ in shares}):
        print(node, round(sum(share for (one, _), share in shares.items() if one == node), 2))
    what = "monitoring of an idle sandbox"
    units = "exporter, vmagent and the way to the store on two nodes; store, rules, page on one; the node agent is not in it"
    share = sum(value for (_, unit), value in shares.items() if unit in MONITORING)
    size = sum(value for (_, unit), value in memory.items() if unit in MONITORING)
    record(f"{what}: share of a core", "≤ 5 %", "%", [share], f"{units}; {load}")
    record(f"{what}: memory", "≤ 300 MB", "MiB", [size], f"proportional set size; {units}")


if __name__ == "__main__":
    main()
