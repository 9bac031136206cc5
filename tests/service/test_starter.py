"""The starter of drones, in real namespaces, as a plain user: what a job's commands could see and reach from there."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

pytestmark = [pytest.mark.service, pytest.mark.timeout(60)]

STARTER = str(files("farmlet.parts.overlay").joinpath("starter.py"))
NOBODY = 65534
LOOK = """
import json, os, sys
home = sys.argv[1]
def read(path):
    try:
        return open(path).read()
    except OSError as error:
        return error.strerror
def write(path):
    try:
        return open(path, "w").close() or "written"
    except OSError as error:
        return error.strerror
print(json.dumps({
    "read": {path: read(path) for path in sys.argv[2:]},
    "write": {path: write(path) for path in ("/x", "/usr/x", "/tmp/x", f"{home}/condor_config", f"{home}/execute/x")},
    "pids": sorted(int(name) for name in os.listdir("/proc") if name.isdigit()),
    "folder": sorted(os.listdir(home)),
    "environment": dict(os.environ),
}))
"""


class Drone:
    """A drone's folder in a site's, beside another drone's, and the account's home."""

    def __init__(self, site: Path) -> None:
        self.site, self.home = site, site / "slot1/overlay"
        for drone in (self.home, site / "slot2/overlay"):
            for name in ("execute", "log", "run", "lock", "tokens.d"):
                (drone / name).mkdir(parents=True)
            (drone / "condor_config").write_text("")
            (drone / "tokens.d/overlay").write_text("a token")
        (site / "home/farmlet-example.org").mkdir(parents=True)
        (site / "home/farmlet-example.org/a.token").write_text("a token")
        for path in (site, *site.rglob("*")):
            os.chown(path, NOBODY, NOBODY)

    def start(self, starter: str, *words: str, **more: str) -> subprocess.Popen[str]:
        """A starter, as the startd starts one: with all signals blocked."""
        program = self.site / "starter"
        program.write_text(starter)
        program.chmod(0o755)
        settings = {"CONDOR_CONFIG": f"{self.home}/condor_config", "FARMLET_STARTER": str(program), "FARMLET_SHOWN": str(program)}
        return subprocess.Popen(
            ["/usr/bin/python3", "-I", STARTER, *words],
            env={"PATH": os.environ["PATH"]} | settings | more,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            user=NOBODY,
            group=NOBODY,
            extra_groups=(),
            preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals()),
        )


@pytest.fixture
def drone() -> Iterator[Drone]:
    assert shutil.which("bwrap"), "apt-get install bubblewrap"
    # not below /tmp, which the starter has of its own
    with TemporaryDirectory(dir="/var/lib") as folder:
        yield Drone(Path(folder))


def test_it_sees_one_job_and_nothing_of_the_drone_or_the_account(drone: Drone) -> None:
    secrets = [
        drone.home / "tokens.d/overlay",
        drone.site / "slot2/overlay/tokens.d/overlay",
        drone.site / "home/farmlet-example.org/a.token",
    ]
    more = {
        "CONDOR_INHERIT": f"{os.getpid()} <127.0.0.1:1> 0 1",
        "CONDOR_PROCD_ADDRESS": "/run/procd",
    }
    process = drone.start('#!/bin/sh\nexec python3 "$@"\n', "-c", LOOK, str(drone.home), *map(str, secrets), **more)
    said, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    seen = json.loads(said)
    assert set(seen["read"].values()) == {"No such file or directory"}
    assert seen["write"] == {
        "/x": "Read-only file system",
        "/usr/x": "Read-only file system",
        f"{drone.home}/condor_config": "Read-only file system",
        f"{drone.home}/execute/x": "written",
        "/tmp/x": "written",
    }
    assert seen["pids"] == [1, 2]
    assert seen["folder"] == ["condor_config", "execute", "lock", "log", "run"]
    assert seen["environment"]["CONDOR_INHERIT"] == "1 <127.0.0.1:1> 0 1"
    assert "CONDOR_PROCD_ADDRESS" not in seen["environment"]
    assert not list(drone.home.glob("execute/*")), "nothing is left of it"


def test_signals_reach_it_and_its_exit_code_comes_back(drone: Drone) -> None:
    process = drone.start("#!/bin/bash\ntrap 'echo told; exit 7' TERM\necho ready\nwhile :; do sleep 0.1; done\n")
    assert process.stdout and process.stdout.readline() == "ready\n"
    process.terminate()
    assert process.communicate(timeout=30)[0] == "told\n"
    assert process.returncode == 7


def test_nothing_of_it_outlives_it(drone: Drone) -> None:
    process = drone.start("#!/bin/sh\nsetsid sleep 7831 > /dev/null 2>&1 &\necho ready\nexec sleep 7832\n")
    assert process.stdout and process.stdout.readline() == "ready\n"
    process.kill()
    process.communicate(timeout=30)
    look = ["pgrep", "-f", "sleep 783[12]"]
    end = subprocess.run(["timeout", "20", "sh", "-c", f"while {' '.join(look[:2])} '{look[2]}' > /dev/null; do sleep 0.1; done"])
    assert end.returncode == 0


def test_what_the_site_has_elsewhere_is_there_and_the_probe_runs_in_the_same(drone: Drone) -> None:
    process = drone.start(
        "#!/bin/sh\n", "--try", "sh", "-c", f"cat {drone.site}/starter; ls -A {drone.site}/slot1/overlay/execute"
    )
    assert process.communicate(timeout=30)[0] == "#!/bin/sh\n"
    probe = drone.start('#!/bin/sh\necho "$@"\n', "-classad")
    assert probe.communicate(timeout=30)[0] == "-classad\n", "the startd's question is answered by HTCondor's own starter"
