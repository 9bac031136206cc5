"""`up` with cached images, from no containers, network, volumes and state."""

from __future__ import annotations

import json
import subprocess

from record import farmlet, record, timed

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
seconds = []
for _ in range(RUNS):
    remove_but_images()
    seconds.append(timed(lambda: farmlet("up")))
record("up with cached images", "≤ 90 s", "s", seconds, "from no containers to every check passed")
