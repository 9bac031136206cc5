# /// sitetest
# timeout = 300
# ///
"""Members' jobs run in containers here: the facility's default image is there and starts, and so do the others that it offers, up
to ten."""

import json
import os
import subprocess
import time
from typing import List, Set

MOST = 10
PATIENCE = 25  # seconds for one


def test() -> str:
    first = os.environ["FARMLET_IMAGE"]
    offered = find_offered(first)
    others = [one for one in os.environ.get("FARMLET_IMAGES", "").split() if one != first and one in offered]
    images = [first, *others][:MOST]
    numbers: List[str] = []
    faults: List[str] = []
    for image in images:
        start = time.monotonic()
        fault = find_fault(image)
        faults += [fault] if fault else []
        numbers.append(f"'{os.path.basename(image)}'={time.monotonic() - start:.3f}s")
    assert not faults, "; ".join(faults) + "|" + " ".join(numbers)
    told = f"{first} and {len(images) - 1} more images start" if others else f"{first} starts"
    told += f"; {len(others) + 1 - MOST} are not tried" if len(others) >= MOST else ""
    return f"{told}|{' '.join(numbers)}"


def find_offered(image: str) -> "Set[str]":
    """What the list beside an image says that members may have: one that is not made yet is no fault of the site's."""
    folder = os.path.dirname(image)
    try:
        with open(os.path.join(folder, "images.json")) as stream:
            return {os.path.join(folder, row["name"]) for row in json.load(stream)["images"] if row["offered"]}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def find_fault(image: str) -> str:
    if not os.path.isdir(image):
        return f"{image} is not here"
    command = ["apptainer", "-s", "exec", "--containall", image, "true"]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return f"{image} does not start within {PATIENCE} s"
    said = done.stdout.decode(errors="replace")
    print(said)
    last = (said.strip().splitlines() or ["it said nothing"])[-1]
    return f"{image} does not start: {last}" if done.returncode else ""
