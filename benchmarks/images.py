"""From a recipe to a job in the image: an image of software of some 700 MB, and a second version of it with one package changed.

Built on the service node as `farmlet images build` does it, tests and all, with pip's and apt's sources of this machine; a
member's job in it waits for a slot of the head node. The image is taken away again.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from logins import facility
from record import record, timed

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "facility"))
from person import Person
from sandbox import Sandbox

from farmlet.engine.images import sources
from farmlet.facility.places import IMAGES
from farmlet.parts.software.admin import COMMAND

NAME, PACKAGE, VERSIONS = "bench", "particle", ("0.25.2", "0.25.3")
REPEATS = int(os.environ.get("REPEATS", "3"))
SUBMIT = """\
executable = ask.py
container_image = {image}
request_memory = 300
output = out
error = err
+WantLocal = true
log = log
queue
"""
ASK = f"#!/usr/bin/env python3\nimport numpy, {PACKAGE}\nprint({PACKAGE}.__version__)\n"


def build(sandbox: Sandbox, version: str) -> dict[str, Any]:
    """Make the image of a version; what the list says of it."""
    config = json.loads(sandbox.exec("service", "cat /etc/farmlet/images.json"))
    config["images"].append(
        {"name": NAME, "base": "analysis", "requirements": [f"{PACKAGE}=={version}"], "test": f"python3 -c 'import {PACKAGE}'"}
    )
    sandbox.exec("service", f"cat > /run/{NAME}.json <<'.'\n{json.dumps(config)}\n.")
    given = sources.python()
    words = [*COMMAND, "--config", f"/run/{NAME}.json", "--folder", IMAGES, "build", NAME]
    text = json.dumps({**given.environment, "bundle": given.bundle.decode()})
    done = subprocess.run(
        ["docker", "exec", "-i", sandbox.container("service"), *words], input=text, capture_output=True, text=True
    )
    rows = {row["name"]: row for row in json.loads(done.stdout)} if not done.returncode else {}
    if not rows.get(NAME, {}).get("offered"):
        sys.exit(f"no image: {rows.get(NAME)} {done.stderr}")
    return rows[NAME]


def clean(sandbox: Sandbox) -> None:
    """The list as the facility's file has it; the folders of the image go."""
    sandbox.run("images", "build")
    sandbox.exec("service", f"rm -rf {IMAGES}/.images/{NAME}-* /run/{NAME}.json")


def run(person: Person, version: str) -> None:
    """A job in it, until it has said what it has."""
    person.ssh("rm -f out err log; condor_submit job.sub > /dev/null; condor_wait -wait 120 log > /dev/null")
    if (said := person.ssh("cat out err").strip()) != version:
        sys.exit(f"a job in the image says {said}, not {version}")


def main() -> None:
    found: dict[str, list[float]] = {"first": [], "job": [], "second": []}
    with facility() as sandbox:
        person = Person.join(sandbox, f"ivy{secrets.token_hex(2)}", "lab")
        person.ssh(
            f"cat > ask.py <<'.'\n{ASK}.\nchmod +x ask.py; cat > job.sub <<'.'\n{SUBMIT.format(image=f'{IMAGES}/{NAME}')}."
        )
        try:
            for _ in range(REPEATS):
                for kind, version in zip(("first", "second"), VERSIONS, strict=True):
                    began = time.monotonic()
                    row = build(sandbox, version)
                    job = timed(lambda version=version: run(person, version))  # type: ignore[misc]
                    found[kind].append(time.monotonic() - began)
                    found["job"].append(job)
                    print(
                        kind, {name: round(values[-1], 1) for name, values in found.items() if values}, row["seconds"], flush=True
                    )
                clean(sandbox)
        finally:
            clean(sandbox)
            sandbox.run("user", "remove", person.name)
    size = f"{row['size'] / 1e6:.0f} MB"
    load = f"load average {os.getloadavg()[0]:.0f} on {os.cpu_count()} cores"
    record("images: built → a job in it has ended", "≤ 60 s", "s", found["job"], f"{size}, on a slot of the head node; {load}")
    record(
        "images: recipe → a job in it has ended", "reported", "s", found["first"], f"{size}: copy, packages, tests, job; {load}"
    )
    record("images: a second version with one package changed", "≤ 15 s", "s", found["second"], f"the same, anew; {load}")


if __name__ == "__main__":
    main()
