"""`make demo` from nothing: no node image, no Python environment, no state; only the package manager's own caches."""

from __future__ import annotations

import shutil
import subprocess

from record import ROOT, farmlet, record, timed

from farmlet.engine.sandbox import docker

docker.connect(start=True)  # to see what is there; `make demo` starts it too
farmlet("down", "--purge")
tags = subprocess.run(["docker", "images", "-q", "farmlet/node"], capture_output=True, text=True, check=True).stdout.split()
if tags:  # what tests and other facilities left; refused if one is in use
    subprocess.run(["docker", "rmi", *tags], check=True)
shutil.rmtree(ROOT / ".venv.kept", ignore_errors=True)


def demo() -> None:
    subprocess.run(["make", "demo"], cwd=ROOT, check=True)


(ROOT / ".venv").rename(ROOT / ".venv.kept")
try:
    seconds = timed(demo)
finally:
    if not (ROOT / ".venv").exists():
        (ROOT / ".venv.kept").rename(ROOT / ".venv")
shutil.rmtree(ROOT / ".venv.kept", ignore_errors=True)
record(
    "make demo from nothing",
    "≤ 480 s",
    "s",
    [seconds],
    "images, environment and facility made; data file of the demo may be cached",
)
