"""The service of site tests as a process that is killed at any moment, over a stand-in for a site with a queue in a folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from farmlet.parts.sitetests.scheduler import make
from farmlet.parts.sitetests.store import DONE, Store
from farmlet.parts.sitetests.suite import Test

pytestmark = [pytest.mark.service, pytest.mark.timeout(120)]

# Each line of `began` is one run of a job; the real runner runs it. What submits takes its time: some are killed meanwhile.
STAND_INS = {
    "ssh": 'for script; do :; done; cd "$LAB/home" && exec sh -c "$script"',
    "condor_q": 'cat $LAB/queue/* 2> /dev/null | if [ "$1" = -constraint ]; then cut -d" " -f1; else cat; fi; true',
    "condor_rm": 'for name in $(echo "$2" | grep -o \'"[^"]*"\' | tr -d \'"\'); do rm -f $LAB/queue/$name; done',
    "condor_submit": """for name in $(sed -n 's/^initialdir = //p' "$2"); do
(cd $name && touch log && echo "$name 2 undefined" > $LAB/queue/$name
(sleep 0.2; echo $name >> $LAB/began; python3 runner.py; rm -f $LAB/queue/$name
printf '005 (1.0.0) now Job terminated.\\n...\\n' >> log) > /dev/null 2>&1 &)
done; sleep 0.4""",
}
JOBS = 12


class Service:
    """The process; `lab` is its world."""

    def __init__(self, lab: Path) -> None:
        for name in ("bin", "queue", "home", "own", "gates"):
            (lab / name).mkdir()
        for name, body in STAND_INS.items():
            (lab / "bin" / name).write_text(f"#!/bin/sh\n{body}\n")
            (lab / "bin" / name).chmod(0o755)
        (lab / "own/probe.py").write_text("def test(): return 'fine'")
        sites = [{"name": "tier1", "host": "tier1.example.org", "user": "drone", "environment": {}}]
        config = {
            "sites": sites,
            "environment": {},
            "every": 600,
            "wait": 60,
            "share": 10,
            "keep_days": 1,
            "at": "tests",
            "known": "/known",
        }
        config |= {"state": str(lab), "folder": str(lab / "own"), "gates": str(lab / "gates")}
        (lab / "config.json").write_text(json.dumps(config))
        self.environment = {**os.environ, "PATH": f"{lab / 'bin'}:{os.environ['PATH']}", "LAB": str(lab)}
        self.environment |= {"CREDENTIALS_DIRECTORY": str(lab), "RUNTIME_DIRECTORY": str(lab)}
        self.command = [sys.executable, "-m", "farmlet.parts.sitetests.command", "--config", str(lab / "config.json"), "service"]
        self.log = (lab / "log").open("w")
        self.begin()

    def begin(self) -> None:
        self.process = subprocess.Popen(self.command, env=self.environment, stderr=self.log)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    found = Service(tmp_path)
    yield found
    found.end()
    found.log.close()
    print((tmp_path / "log").read_text())


def test_killed_again_and_again_it_loses_no_job_and_does_none_twice(service: Service, tmp_path: Path) -> None:
    store = Store(tmp_path / "results.sqlite3")
    probe = Test("probe", (tmp_path / "own/probe.py",), "function", 600)
    names = []
    for number in range(JOBS):
        job = make("tier1", [probe], "demand", time.time())
        names.append(job.name)
        store.add(job)
        time.sleep(0.3 + 0.13 * (number % 9))  # at another moment of what it does each time
        service.end()
        service.begin()
    until = time.monotonic() + 60
    while [job for name in names if (job := store.find_job(name)) is not None and job.state != DONE]:
        assert time.monotonic() < until
        time.sleep(0.2)
    assert sorted((tmp_path / "began").read_text().split()) == sorted(names)
    for name in names:
        assert sorted((one.test, one.text) for one in store.find_results(job=name) if one.test == "probe") == [("probe", "fine")]
    assert not list((tmp_path / "queue").iterdir()) and not list((tmp_path / "home/tests").glob("tier1-*"))
    store.close()


def test_asked_to_end_it_ends_well(service: Service, tmp_path: Path) -> None:
    until = time.monotonic() + 30
    while not (tmp_path / "told.json").exists():
        assert time.monotonic() < until
        time.sleep(0.1)
    service.process.terminate()
    assert service.process.wait(20) == 0


BAD = {
    "broken.py": "def test(",
    "odd name!.py": "def test(): pass",
    "Queue.py": "def test(): pass",
    "header.py": "# /// sitetest\n# every = soon\n# ///\ndef test(): pass",
    "endless": "#!/bin/sh\n# /// sitetest\n# timeout = 1\n# ///\necho begun; sleep 1000",
    "loud": "#!/bin/sh\necho first; head -c 100000000 /dev/zero | tr '\\0' x; echo; echo last",
    "dies.py": "import os\ndef test(): os.kill(os.getpid(), 9)",
    "bytes": "#!/bin/sh\nprintf '\\377\\033[2J<b>\\n'; exit 2",
}


def test_bad_tests_are_told_in_words_and_the_others_go_on(service: Service, tmp_path: Path) -> None:
    for name, text in BAD.items():
        (tmp_path / "own" / name).write_text(text)
    until = time.monotonic() + 30
    while not (tmp_path / "told.json").exists() or len(json.loads((tmp_path / "told.json").read_text())["faults"]) < 4:
        assert time.monotonic() < until
        time.sleep(0.1)
    done = subprocess.run([*service.command[:-1], "run", "--wait", "60"], env=service.environment, capture_output=True, text=True)
    found = {row["test"]: (row["result"], row["text"]) for row in json.loads(done.stdout)}
    assert found["probe"] == ("ok", "fine") and found["queue"][0] == "ok"
    assert found["endless"] == ("critical", "did not end within 1 s") and found["loud"] == ("ok", "first")
    assert found["dies"][0] == "unknown" and "ended with -9" in found["dies"][1]
    assert found["bytes"][0] == "critical" and "\033" not in found["bytes"][1]
    faults = json.loads((tmp_path / "told.json").read_text())["faults"]
    for said in (
        "broken.py: is no Python",
        "odd name!.py: a test is named",
        "Queue.py: a test is named",
        "header.py: its header is no TOML",
    ):
        assert [fault for fault in faults if fault.startswith(said)], faults
    shown = subprocess.run([*service.command[:-1], "show", "loud"], env=service.environment, capture_output=True, text=True)
    (row,) = json.loads(shown.stdout)
    assert row["output"].endswith("last") and len(row["output"]) < 66000 and row["dropped"] > 99_000_000
