"""`up` with cached images, from no containers; and `up` again when nothing changed, with drift looked for."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from record import FARMLET, ROOT, farmlet, record, timed

RUNS = 3


def remove_but_images() -> None:
    """Containers, volumes, network and state go; images stay."""
    name = json.loads(farmlet("validate", "--json"))["name"]
    label = f"label=farmlet.facility={name}"
    # a container that keeps an image in use keeps `down --purge` from removing it
    tags = subprocess.run(["docker", "images", "-q", "farmlet/node"], capture_output=True, text=True, check=True).stdout.split()
    holders = [
        subprocess.run(["docker", "create", tag, "true"], capture_output=True, text=True, check=True).stdout.strip()
        for tag in tags
    ]
    farmlet("down", "--purge")
    subprocess.run(["docker", "rm", *holders], capture_output=True, check=True)
    left = subprocess.run(["docker", "ps", "-aq", "--filter", label], capture_output=True, text=True, check=True).stdout
    assert not left, left


farmlet("up")
first, again = [], []
for _ in range(RUNS):
    remove_but_images()
    first.append(timed(lambda: farmlet("up")))
for _ in range(RUNS):
    answer = {}
    again.append(timed(lambda: answer.update(json.loads(farmlet("up", "--json")))))  # noqa: B023
    assert answer["operations"] == 0, answer
record("up with cached images", "≤ 90 s", "s", first, "from no containers to every check passed")
record("up again, nothing changed", "≤ 10 s", "s", again, "every resource of every node looked at; 0 operations")
record("status", "≤ 2 s", "s", [timed(lambda: farmlet("status", "--json")) for _ in range(5)])
assert Path(FARMLET).is_relative_to(ROOT)
