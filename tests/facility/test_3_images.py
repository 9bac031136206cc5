"""Software images: built and tested on the real node, and one that a member makes for themselves and runs jobs in."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
from person import Person
from sandbox import Sandbox, until

from farmlet.engine.images import sources
from farmlet.parts.software.admin import COMMAND

pytestmark = [pytest.mark.facility, pytest.mark.usefixtures("running"), pytest.mark.timeout(600)]
PLACE = "/var/tmp/farmlet-test-images"  # on the node, instead of /cvmfs: the sandbox's own images stay as they are
PACKAGE = "particle"  # wheels of pure Python, which the shipped image has not
SUBMIT = """\
executable = ask.py
container_image = {image}
request_memory = 300
output = {name}.out
error = {name}.err
log = jobs.log
{more}
queue
"""
ASK = "#!/usr/bin/env python3\nimport numpy, particle\nprint(particle.__version__, particle.Particle.from_pdgid(23).name)\n"


def build(sandbox: Sandbox, config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What the builder on the node says after a build, by name."""
    given = sources.python()
    text = json.dumps({**given.environment, "bundle": given.bundle.decode()})
    sandbox.exec("service", f"mkdir -p {PLACE}; cat > {PLACE}/config.json <<'.'\n{json.dumps(config)}\n.")
    words = [*COMMAND, "--config", f"{PLACE}/config.json", "--folder", f"{PLACE}/unpacked", "build"]
    command = ["docker", "exec", "-i", sandbox.container("service"), *words]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done
    return {row["name"]: row for row in json.loads(done.stdout)}


def test_images_are_built_tested_and_only_then_offered(sandbox: Sandbox) -> None:
    (shipped,) = [row for row in sandbox.json("images", "list") if row["name"] == "analysis"]
    assert shipped["offered"] and shipped["size"] > 300e6 and {"uproot", "jupyterlab"} <= set(shipped["python"])
    config = json.loads(sandbox.exec("service", "cat /etc/farmlet/images.json"))
    good = {"name": "good", "base": "analysis", "packages": ["jq"], "requirements": [PACKAGE]}
    test = f"jq --version; python3 -c 'import {PACKAGE}'; ! touch /usr/x; [ $(id -un) = nobody ]; ! getent hosts {sandbox.domain}"
    bad = {"name": "bad", "base": "analysis", "requirements": [PACKAGE], "test": "python3 -c 'import nothing_like_it'"}
    config["images"] += [good | {"test": test}, bad]
    try:
        rows = build(sandbox, config)
        assert (rows["good"]["offered"], rows["good"]["error"]) == (True, "")
        assert PACKAGE in rows["good"]["python"] and "jq" in rows["good"]["debian"] and "jq" not in rows["analysis"]["debian"]
        assert not rows["bad"]["offered"] and "No module named 'nothing_like_it'" in rows["bad"]["error"]
        assert sandbox.exec("service", f"ls {PLACE}/unpacked {PLACE}/unpacked/.images").split().count("bad") == 0
        look = "ls tmp; ls var/lib/apt/lists; cat etc/resolv.conf; ls usr/sbin | grep policy || true"
        left = sandbox.exec("service", f"cd {PLACE}/unpacked/good; {look}")
        assert not left, "nothing of the build stays"
    finally:
        sandbox.exec("service", f"rm -rf {PLACE}")


@pytest.fixture(scope="module")
def ines(sandbox: Sandbox, running: Sandbox) -> Person:
    person = Person.join(sandbox, "inez", "lab")
    until(lambda: person.try_ssh("true").returncode == 0, 30)
    person.ssh(f"mkdir fit; echo {PACKAGE} > fit/requirements.txt; cat > ask.py <<'.'\n{ASK}.\nchmod +x ask.py")
    return person


def test_a_member_makes_an_image_and_jobs_anywhere_run_in_it(ines: Person) -> None:
    said = ines.ssh("farmlet-image fit").splitlines()
    assert said[0].startswith(f"{PACKAGE} ") and said[-1] == f"container_image = /home/{ines.name}/fit/fit.sif"
    version = said[0].split()[1]
    assert ines.ssh("ls -A fit") == "fit.sif\nrequirements.txt"
    for name, more in (("own", "+WantLocal = true"), ("drone", "requirements = TARGET.FarmletSite =!= undefined")):
        text = SUBMIT.format(image="fit/fit.sif", name=name, more=more)
        ines.ssh(f"cat > {name}.sub <<'.'\n{text}.\ncondor_submit {name}.sub")
    until(lambda: not ines.ssh("condor_q -af ClusterId"), 120)
    for name in ("own", "drone"):
        assert ines.ssh(f"cat {name}.out {name}.err") == f"{version} Z0", ines.ssh("cat jobs.log")


def test_a_members_image_begins_with_the_facilitys(ines: Person) -> None:
    built = ines.try_ssh("cd /tmp && mkdir inez && cd inez && apptainer build --sandbox own /cvmfs/unpacked/analysis")
    seen = ines.try_ssh("cd /tmp/inez && apptainer exec --containall own python3 -c 'import uproot' && rm -rf /tmp/inez")
    assert (built.returncode, seen.returncode) == (0, 0), (built, seen)


def test_what_is_no_package_is_refused_with_its_line(ines: Person) -> None:
    ines.ssh("mkdir odd; printf 'numpy\\n--index-url https://elsewhere.example.org\\n' > odd/requirements.txt")
    done = ines.try_ssh("farmlet-image odd")
    assert done.returncode == 2 and f"/home/{ines.name}/odd/requirements.txt:2: " in done.stderr and "is an option" in done.stderr
