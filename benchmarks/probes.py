"""100 site tests at once: our service beside PyPI's resource-availability-monitoring, in turn at one and the same pool.

Of a sandbox only the image of the site's node is used, for a container with an HTCondor of 100 slots and nothing else in it. The
test is the peer's own example, shorter: it sleeps and writes `job_result.yaml`, which we take unchanged. The peer
runs a job for each test and has no other way. We are measured in both ways: 100 jobs with a test each, all asked for at once, and
100 tests that are due at a site at the same time, which become one job.

Counted is the service with all that it begins, ssh among it, and apart what ssh begins at the site's end. HTCondor is not.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

TESTS, SINGLE, VERSION, ROUNDS = 100, 10, "0.2.8", int(os.environ.get("REPEATS", "3"))
NAME = "farmlet-bench-probes"
FAR: tuple[set[str], tuple[str, ...], bytes] = (set(), ("sshd", "sshd-session"), b"python3\0-I\0-c\0")  # see `spend`
POOL = """\
DAEMON_LIST = MASTER COLLECTOR NEGOTIATOR SCHEDD STARTD
CONDOR_HOST = localhost
COLLECTOR_HOST = localhost:9618
NETWORK_INTERFACE = 127.0.0.1
use SECURITY : HOST_BASED
use ROLE : Personal
RELEASE_DIR = /usr
LIB = /usr/lib/condor
LIBEXEC = /usr/libexec/condor
LOCAL_DIR = /pool
NUM_CPUS = 100
MEMORY = 100000
ENABLE_KERNEL_TUNING = False
USE_SHARED_PORT = False
SCHEDD_ADDRESS_FILE = /pool/spool/.schedd_address
NEGOTIATOR_INTERVAL = 2
NEGOTIATOR_MIN_INTERVAL = 1
NEGOTIATOR_CYCLE_DELAY = 1
UPDATE_INTERVAL = 60
"""
SCRIPT = """#!/bin/sh
sleep @@seconds
cat > job_result.yaml <<EOF
tests:
  - test: "default_test"
    passed: True
    message: "default_test passed"
EOF
"""
JOB = {
    "universe": "vanilla", "executable": "default.sh", "AccountingGroup": "sitetest", "arguments": "", "docker_image": "",
    "output_file": "job_result.yaml", "output": "default.out", "error": "default.err", "log": "default.log",
}  # fmt: skip
NEEDS = {"cpu": 1, "memory": 256, "disk": 1000, "gpu": 0, "requirements": ""}
PREPARE = """
useradd --create-home --shell /bin/bash tests
mkdir -p /pool/lock /pool/log /pool/spool /pool/execute /pool/run /run/sshd && chown -R condor: /pool && chmod 755 /pool
python3 -m compileall -q /bench/peer /bench/ours
ssh-keygen -A > /dev/null && /usr/sbin/sshd
runuser -u tests -- sh -c 'mkdir -m 700 ~/.ssh && ssh-keygen -q -t ed25519 -N "" -f ~/.ssh/key &&
  cp ~/.ssh/key.pub ~/.ssh/authorized_keys
  ssh-keyscan -t ed25519 localhost > ~/.ssh/known 2> /dev/null'
CONDOR_CONFIG=/bench/pool condor_master
for turn in $(seq 60); do [ "$(CONDOR_CONFIG=/bench/pool condor_status -af Cpus 2> /dev/null)" ] && break; sleep 1; done
echo 'CONDOR_CONFIG=/bench/pool' >> /etc/environment
"""


def inside(*words: str, user: str = "root") -> str:
    command = ["docker", "exec", "--user", user, "-e", "CONDOR_CONFIG=/bench/pool", NAME, *words]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{words}: {done.stdout}\n{done.stderr}")
    return done.stdout


def prepare(folder: Path) -> None:
    """What the container sees as /bench."""
    from record import ROOT

    (folder / "pool").write_text(POOL)
    target = ["--target", str(folder / "peer"), "--python-version", "3.13", "--only-binary", ":all:"]
    uv = str(ROOT / ".venv" / "bin" / "uv")
    subprocess.run([uv, "pip", "install", "--quiet", *target, f"resource-availability-monitoring=={VERSION}"], check=True)
    pinned = next(line.split()[0] for line in (ROOT / "pyproject.toml").read_text().split('"') if line.startswith("ruamel.yaml"))
    target[1] = str(folder / "ours")
    subprocess.run([uv, "pip", "install", "--quiet", *target, pinned], check=True)
    shutil.copytree(ROOT / "src" / "farmlet", folder / "ours" / "farmlet")
    shutil.copy(__file__, folder / "probes.py")
    jobs = [{"name": f"test{number}", "parameters": describe(number)} for number in range(TESTS)]
    for job in jobs:
        (folder / "config" / job["name"]).mkdir(parents=True)
        (folder / "config" / job["name"] / "default.sh").write_text(SCRIPT.replace("@@seconds", "20"))
    (folder / "config" / "config.yml").write_text(json.dumps({"jobs": jobs}))
    (folder / "config" / "influx_parameters.yml").write_text("{}\n")
    for way, seconds in (("jobs", "20"), ("tests", "0.2"), ("single", "3")):
        (folder / way).mkdir()
        for number in range(TESTS):
            (folder / way / f"test{number}.sh").write_text(SCRIPT.replace("@@seconds", seconds))
    (folder / "none").mkdir()


def describe(number: int) -> dict[str, object]:
    times = {"interval": 3600, "timeout": 3600}
    return {"enabled": True, "description": "a test", "site": f"site{number}", **times, "job": JOB, "requirements": NEEDS}


def spend(pids: set[str], commands: tuple[str, ...], words: bytes = b"no such") -> float:
    """Processor seconds of these processes and of those of these names, or whose command line begins with these words, with
    their children that have ended."""
    total = 0.0
    for pid in filter(str.isdecimal, (path.name for path in Path("/proc").iterdir())):
        try:
            name, _, rest = Path(f"/proc/{pid}/stat").read_text().partition(" (")[2].rpartition(") ")
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if pid in pids or name in commands or line.startswith(words):
            total += sum(map(int, rest.split()[11:15])) / os.sysconf("SC_CLK_TCK")
    return total


def peak(pid: int) -> float:
    """MiB."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def run_peer() -> None:
    """In the container, as root: the peer as it is told to be run; from its start until it has put down 100 results."""
    import sqlite3
    import uuid

    work = Path(f"/home/tests/{uuid.uuid4().hex}")
    words = ["--workdir", str(work), "--configdir", "/bench/config", "--no-influxdb", "--log-file", f"{work}.log"]
    environment = {**os.environ, "PYTHONPATH": "/bench/peer", "CONDOR_CONFIG": "/bench/pool", "HOME": "/home/tests"}
    command = ["setpriv", "--reuid=tests", "--regid=tests", "--clear-groups"]
    with Path("/tmp/peer.log").open("w") as log:
        # what it takes to start: the same words, and nothing is run
        spent = resource.getrusage(resource.RUSAGE_CHILDREN)
        starting = [*command, "python3", "-m", "resource_availability_monitoring", *words, "--check"]
        subprocess.run(starting, env=environment, stdout=log, stderr=log, check=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        start, idle = after.ru_utime + after.ru_stime - spent.ru_utime - spent.ru_stime, after.ru_maxrss / 1024
        service = subprocess.Popen(
            [*command, "python3", "-m", "resource_availability_monitoring", *words],
            env=environment,
            stdout=log,
            stderr=log,
            cwd="/home/tests",
        )
    until, done = time.monotonic() + 900, 0
    while done < TESTS and time.monotonic() < until and service.poll() is None:
        time.sleep(1)
        try:
            with sqlite3.connect(f"file:{work}/jobs.sqlite3?mode=ro", uri=True, timeout=10) as base:
                done = base.execute("SELECT count(*) FROM jobs WHERE status = 1").fetchone()[0]
        except sqlite3.Error:
            continue
    total, most = spend({str(service.pid)}, ()), peak(service.pid)
    found = {"seconds": total, "start": start, "memory": most, "idle": idle, "done": done}
    service.kill()
    print(json.dumps(found))


def run_ours(way: str) -> None:
    """In the container, as `tests`: our service; until 100 results are stored."""
    import sqlite3

    import ruamel.yaml  # noqa: F401  what the first report loads; the peer has it when it has started

    from farmlet.parts.sitetests.jobs.queue import Place, Queue, ssh
    from farmlet.parts.sitetests.scheduler import Folders, Scheduler, Site, make
    from farmlet.parts.sitetests.store import Store

    folder, home = Path(tempfile.mkdtemp()), "/home/tests"
    place = Place("site", "localhost", "tests", folder.name)
    login = ssh(place, f"{home}/.ssh/key", f"{home}/.ssh/known")
    store = Store(folder / "results.sqlite3")
    (folder / "gates").mkdir()
    folders = Folders(Path("/bench/none"), Path("/bench", way), folder / "gates", folder / "told.json")
    scheduler = Scheduler({"site": Site("site", Queue(place, login), {})}, store, folders, 86400, 300, 30 * 86400, 10)
    scheduler.tick()  # reads the tests, as the peer does when it starts
    before = spend({str(os.getpid())}, ("ssh",)), spend(*FAR)
    idle = peak(os.getpid())

    async def work() -> float:
        tests = list(scheduler.suite.tests.values())
        task = asyncio.create_task(scheduler.run())
        if way == "single":
            for number in range(SINGLE):
                store.add(make("site", tests[:1], "demand", time.time()))
                await wait(store, number + 1)
        else:
            for group in [[test] for test in tests] if way == "jobs" else [tests]:
                store.add(make("site", group, "demand", time.time()))
            await wait(store, TESTS)
        far = spend(*FAR) - before[1]  # before it ends
        task.cancel()
        await scheduler.settle()
        return far

    far = asyncio.run(work())
    total, most = spend({str(os.getpid())}, ("ssh",)), peak(os.getpid())
    found = {"seconds": total, "start": before[0], "far": far, "memory": most, "idle": idle, "done": count(store)}
    with sqlite3.connect(folder / "results.sqlite3") as base:
        rows = base.execute("SELECT max(stored) - max(at + seconds) FROM result WHERE test <> 'queue' GROUP BY job").fetchall()
    print(json.dumps({**found, "late": [row[0] for row in rows]}))


async def wait(store: object, wanted: int) -> None:
    until = time.monotonic() + 900
    while time.monotonic() < until and count(store) < wanted:
        await asyncio.sleep(1)


def count(store: object) -> int:
    ours = "test <> 'queue' AND NOT instr(test, '/')"  # nor what is in the tests' reports
    return int(store._base.execute(f"SELECT count(*) FROM result WHERE {ours} AND code = 0").fetchone()[0])  # type: ignore[attr-defined]


def start(image: str, folder: Path) -> None:
    subprocess.run(["docker", "rm", "-f", NAME], capture_output=True)
    mounts = ["-v", f"{folder}:/bench", "--hostname", "localhost", "--init"]
    subprocess.run(
        ["docker", "run", "-d", "--name", NAME, *mounts, "--entrypoint", "sleep", image, "infinity"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    inside("bash", "-c", PREPARE)


def main() -> None:
    from logins import facility

    with facility() as sandbox:
        words = ["docker", "inspect", "--format", "{{.Image}}", sandbox.container("tier1")]
        measure(subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip())


def measure(image: str) -> None:
    found: dict[str, list[dict[str, Any]]] = {"peer": [], "tests": [], "jobs": [], "single": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        prepare(folder)
        try:
            start(image, folder)
            for _ in range(ROUNDS):
                for way, rows in found.items():
                    user = "root" if way == "peer" else "tests"
                    said = json.loads(
                        inside("env", "PYTHONPATH=/bench/ours", "python3", "/bench/probes.py", way, user=user).splitlines()[-1]
                    )
                    print(
                        way,
                        {key: value for key, value in said.items() if key != "late"},
                        statistics.median(said.get("late", [0])),
                        flush=True,
                    )
                    if said["done"] < (SINGLE if way == "single" else TESTS):
                        sys.exit(f"{way}: only {said['done']} of {TESTS} came in: this is no figure")
                    rows.append(said)
        finally:
            subprocess.run(["docker", "rm", "-f", NAME], capture_output=True)
    report(found)


def report(found: dict[str, list[dict[str, Any]]]) -> None:
    """Figures of a test are those of the whole run without what it takes to start, divided by 100."""
    from record import record

    single = found.pop("single")
    load = f"load average {os.getloadavg()[0]:.0f} on {os.cpu_count()} cores"
    names = {"peer": f"resource-availability-monitoring {VERSION}", "tests": "ours, due together", "jobs": "ours, a job each"}
    what = f"site tests: {TESTS} at once"
    cost = {way: [1000 * (row["seconds"] - row["start"]) / TESTS for row in rows] for way, rows in found.items()}
    for way, rows in found.items():
        goal, more = "peer" if way == "peer" else "reported", ""
        if way != "peer":
            more = f"; at the site's end of ssh {statistics.median(10 * row['far'] for row in rows):.1f} ms more"
        record(f"{what}: processor time of a test, {names[way]}", goal, "ms", cost[way], f"without its start; {load}{more}")
        sizes = [row["memory"] for row in rows]
        record(
            f"{what}: memory, {names[way]}", goal, "MiB", sizes, f"the most; {rows[0]['idle']:.0f} MiB of it when nothing runs"
        )
        if way != "peer":
            ratios = [own / other for own, other in zip(cost[way], cost["peer"], strict=True)]
            record(f"{what}: processor time, {names[way]} ÷ peer", "≤ 0.1", "×", ratios, "of rounds one after the other")
            ratios = [own["memory"] / other["memory"] for own, other in zip(rows, found["peer"], strict=True)]
            note = "of rounds one after the other; the interpreter alone is an eighth of the peer"
            record(f"{what}: memory, {names[way]} ÷ peer", "reported", "×", ratios, note)
            added = [[row["memory"] - row["idle"] for row in some] for some in (rows, found["peer"])]
            ratios = [own / other for own, other in zip(*added, strict=True)]
            note = f"the most without what is there when nothing runs: {added[0][0]:.1f} and {added[1][0]:.1f} MiB for {TESTS}"
            record(f"{what}: memory that a test adds, {names[way]} ÷ peer", "≤ 0.1", "×", ratios, note)
    late = [value for row in single for value in row["late"]]
    record("site tests: a job's end → its result is stored", "≤ 2 s", "s", late, f"jobs one after another; {load}")


if __name__ == "__main__":
    if sys.argv[1:] == ["peer"]:
        run_peer()
    elif sys.argv[1:2] in (["jobs"], ["tests"], ["single"]):
        run_ours(sys.argv[1])
    else:
        main()
