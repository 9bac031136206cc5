"""Software images: built and tested on the real node, and one that a member makes for themselves and runs jobs in."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from notebooks import enter, join, run_cell
from person import Person
from sandbox import Sandbox, until

from farmlet.engine.images import sources
from farmlet.errors import FarmletError
from farmlet.facility.places import OWN_IMAGES, PUBLISHERS, find_unpacked
from farmlet.parts.render import render
from farmlet.parts.software.admin import COMMAND
from farmlet.parts.software.unpacked import deploy
from farmlet.parts.software.unpacked.area import Setting
from farmlet.parts.software.unpacked.program import CONFIG
from farmlet.parts.software.unpacked.wishes import check
from host import docker

sys.path.append(str(Path(__file__).parents[1] / "service" / "software"))
import imagery

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
ASK = """\
#!/usr/bin/env python3
import time, numpy, particle
print(particle.__version__, particle.Particle.from_pdgid(23).name)
time.sleep(5)
"""


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
    person = join(sandbox, "inez")
    until(lambda: person.try_ssh("true").returncode == 0, 30)
    person.ssh(f"mkdir fit; echo {PACKAGE} > fit/requirements.txt; cat > ask.py <<'.'\n{ASK}.\nchmod +x ask.py")
    return person


@pytest.fixture(scope="module")
def made(ines: Person) -> list[str]:
    """What `farmlet-image` says of an image of hers."""
    return ines.ssh("farmlet-image fit").splitlines()


def test_a_member_makes_an_image_and_jobs_anywhere_run_in_it(sandbox: Sandbox, ines: Person, made: list[str]) -> None:
    said = made
    assert said[0].startswith(f"{PACKAGE} ") and said[-1] == f"container_image = /home/{ines.name}/fit/fit.sif"
    version = said[0].split()[1]
    assert ines.ssh("ls -A fit") == "fit.sif\nrequirements.txt"
    by_name = f"include : farmlet-image --use {ines.name}/fit |"
    for name, more in (
        ("own", "universe = container\n+WantLocal = true"),
        ("drone", "requirements = TARGET.FarmletSite =!= undefined"),
    ):
        text = SUBMIT.format(image="fit/fit.sif", name=name, more=more)
        text = text if name == "own" else text.replace("container_image = fit/fit.sif", by_name)
        ines.ssh(f"cat > {name}.sub <<'.'\n{text}.\ncondor_submit {name}.sub")
    mounted = set[str]()

    def look() -> bool:
        """Whether both have the image mounted: nothing is unpacked, which would take longer than many jobs run."""
        for node in ("head", "tier1"):
            if "squashfuse" in sandbox.exec(node, "cat /proc/[0-9]*/comm 2> /dev/null || true"):
                mounted.add(node)
        return len(mounted) == 2

    until(look, 90)
    until(lambda: not ines.ssh("condor_q -af ClusterId"), 120)
    for name in ("own", "drone"):
        assert ines.ssh(f"cat {name}.out {name}.err") == f"{version} Z0", ines.ssh("cat jobs.log")


# a cell of a notebook
CELL = """
import json, os, particle, subprocess, sys
said = subprocess.run(["python3", "-c", "import particle; print(particle.__version__)"], capture_output=True, text=True).stdout
print(json.dumps([particle.__version__, said.strip(), sys.executable, os.getuid(), os.listdir("/opt/own/bin") != []]))
"""


def test_a_notebook_runs_in_the_members_own_image(sandbox: Sandbox, ines: Person, made: list[str]) -> None:
    # the node has booted since: she has not been to the Hub, which asks everybody once
    sandbox.exec("head", f"find {OWN_IMAGES} -user {ines.name} -delete")
    hub, other = enter(ines), enter(join(sandbox, "ilse"))
    assert "fit: your own, with analysis" in hub.log_in().text and ines.name not in other.log_in().text
    # a group's right, which the file of this facility gives to none
    sandbox.exec("head", f"""echo '["lab"]' > {PUBLISHERS}""")
    ines.ssh("chmod o+x . fit && farmlet-image --publish fit")
    assert f"fit: of {ines.name}" in other.log_in().text
    ines.ssh("farmlet-image --withdraw fit")
    sandbox.exec("head", f"echo '[]' > {PUBLISHERS}")
    label = f"{ines.name}/fit"
    with pytest.raises(FarmletError, match="no such software"):
        place = f"{other.url}/hub/api/users/{other._member.name}/server"
        other._browser.call("POST", place, other.headers, {"software": label})
    hub.start(software=label)
    version, uid = made[0].split()[1], int(ines.ssh("id -u"))
    # it goes on when the image is taken away
    ines.ssh("mv fit/fit.sif away.sif")
    assert run_cell(ines, hub, CELL) == [version, version, "/usr/bin/python3", uid, True]
    hub.stop()
    ines.ssh("mv away.sif fit/fit.sif")


SHELL = """\
executable = /bin/sh
transfer_executable = false
arguments = "-c 'cat /marker; sleep 8'"
container_image = {image}
request_memory = 100
output = {name}.out
error = {name}.err
log = marker.log
{more}
queue
"""


@pytest.fixture
def registry(sandbox: Sandbox, tmp_path: Path) -> Iterator[str]:
    """A registry on the node that publishes, and the unit that `up` writes there for a wish list; the folder of the area."""
    with imagery.serve(tmp_path) as made:
        marker = imagery.layer(imagery.entry("marker", "of a registry\n"), imagery.entry("bin/su", "x", 0o4755))
        made.push("lab/shell", "v1", imagery.programs("sh", "cat", "sleep"), marker)
    told = json.loads((tmp_path / "registry.json").read_text())
    told["storage"]["filesystem"]["rootdirectory"], told["http"]["addr"] = f"{PLACE}/store", ":5000"
    (tmp_path / "registry.json").write_text(json.dumps(told))
    folder, unit = find_unpacked(sandbox.domain), "/run/systemd/system/farmlet-unpacked.service"
    sandbox.exec("service", f"mkdir -p {PLACE} {folder}; id {deploy.USER} 2> /dev/null || useradd --system {deploy.USER}")
    for source in (tmp_path / "store", tmp_path / "registry.json", Path("/usr/bin/docker-registry")):
        docker("cp", str(source), f"{sandbox.container('service')}:{PLACE}/{source.name}")
    text = render(deploy.PACKAGE, f"{deploy.UNIT}.service", command=" ".join(deploy.COMMAND), folder=folder)
    sandbox.exec("service", f"cat > {unit} <<'.'\n{text}.\nsystemctl daemon-reload")
    words = f"systemd-run --quiet --unit=test-registry {PLACE}/docker-registry serve {PLACE}/registry.json"
    sandbox.exec("service", f"{words}; until curl -sf http://127.0.0.1:5000/v2/; do sleep 0.1; done")
    yield folder
    sandbox.exec("service", f"systemctl stop test-registry; rm -rf {PLACE} {folder} {unit} {CONFIG}; systemctl daemon-reload")


@pytest.fixture
def wishing(sandbox: Sandbox) -> Iterator[str]:
    """The facility file as it would be with a wish list."""
    path, wishes = sandbox.folder / "wishing.yaml", sandbox.folder / "wishlist.yaml"
    wishes.write_text(
        f"version: 1\ncvmfs_repo: {find_unpacked(sandbox.domain)[7:]}\ninput: ['http://127.0.0.1:5000/lab/shell:v1']\n"
    )
    path.write_text((sandbox.folder / "facility.yaml").read_text() + "\nsoftware: {unpacked: wishlist.yaml}\n")
    yield path.name
    for one in (path, wishes):
        one.unlink()


def test_admins_say_it_by_the_command(sandbox: Sandbox, registry: str, wishing: str) -> None:
    wish = check("http://127.0.0.1:5000/lab/shell:v1", 3)
    setting = Setting(registry, "wishlist.yaml", deploy.USER, f"service.{sandbox.domain}", 7, 1 << 30, (wish,), ())

    def say(*words: str, code: int = 0) -> Any:
        return sandbox.json("images", *words, "--facility", wishing, code=code)

    sandbox.exec("service", f"cat > {CONFIG} <<'.'\n{json.dumps(asdict(setting))}\n.")
    assert [row["error"] for row in say("test", "analysis") if row["name"] == "analysis"] == [""]
    assert {row["name"] for row in say("build")} >= {"analysis"}
    assert "is offered already" in str(say("publish", "analysis", code=2))
    (row,) = say("publish", wish.name)
    assert row["offered"] and row["path"] == f"{registry}/{wish.name}"
    assert "asks for it" in str(say("remove", wish.name, code=2))
    sandbox.exec("service", f"cat > {CONFIG} <<'.'\n{json.dumps(asdict(replace(setting, wishes=())))}\n.")
    assert say("remove", wish.name) == []
    sandbox.exec("service", f"test ! -e {registry}/{wish.name}")


def test_jobs_anywhere_run_in_an_image_of_a_registry(sandbox: Sandbox, ines: Person, registry: str) -> None:
    def tell(setting: Setting) -> None:
        sandbox.exec("service", f"cat > {CONFIG} <<'.'\n{json.dumps(asdict(setting))}\n.")

    wish = check("http://127.0.0.1:5000/lab/shell:v1", 3)
    central = f"service.{sandbox.domain}"
    setting = Setting(registry, "wishlist.yaml", deploy.USER, central, 7, 1 << 30, (wish,), ())
    tell(setting)
    sandbox.exec("service", "systemctl start farmlet-unpacked.service || { journalctl -u farmlet-unpacked; false; }")
    image = f"{registry}/{wish.name}"
    assert ines.ssh(f"ls -l {image}/bin/su; readlink {image}").startswith("-rwxr-xr-x 1 root root")
    tell(replace(setting, wishes=()))
    for name, more in (("local", "+WantLocal = true"), ("site", "requirements = TARGET.FarmletSite =!= undefined")):
        ines.ssh(f"cat > {name}.sub <<'.'\n{SHELL.format(image=image, name=name, more=more)}.\ncondor_submit {name}.sub")
    said = ines.ssh(f"APPTAINER_NOHTTPS=true farmlet-image docker://{central}:5000/lab/shell:v1")
    assert said == f"container_image = /home/{ines.name}/shell.sif"
    assert (
        ines.ssh("apptainer exec --containall shell.sif /bin/cat /marker; farmlet-image --use shell") == f"of a registry\n{said}"
    )
    remove = [*deploy.COMMAND, "remove", wish.name]
    container, seen = sandbox.container("service"), set()

    def refuse() -> str:
        return subprocess.run(["docker", "exec", container, *remove], capture_output=True, text=True, check=False).stderr

    def look() -> bool:
        """Whether a slot here and one at the site have said that they use it, and it was kept for that."""
        slots = sandbox.exec("service", f"""condor_status -constraint 'ContainerImage == "{image}"' -af FarmletSite""").split()
        if slots and "is in use: " in refuse():
            seen.update(slots)
        return len(seen) == 2

    until(look, 90)
    until(lambda: not ines.ssh("condor_q -af ClusterId"), 120)
    for name in ("local", "site"):
        assert ines.ssh(f"cat {name}.out {name}.err") == "of a registry", ines.ssh("cat marker.log")
    until(lambda: not refuse(), 60)
    assert ines.try_ssh(f"test -e {image}").returncode


def test_a_members_image_begins_with_the_facilitys(ines: Person) -> None:
    built = ines.try_ssh("cd /tmp && mkdir inez && cd inez && apptainer build --sandbox own /cvmfs/unpacked/analysis")
    seen = ines.try_ssh("cd /tmp/inez && apptainer exec --containall own python3 -c 'import uproot' && rm -rf /tmp/inez")
    assert (built.returncode, seen.returncode) == (0, 0), (built, seen)


def test_what_is_no_package_is_refused_with_its_line(ines: Person) -> None:
    ines.ssh("mkdir odd; printf 'numpy\\n--index-url https://elsewhere.example.org\\n' > odd/requirements.txt")
    done = ines.try_ssh("farmlet-image odd")
    assert done.returncode == 2 and f"/home/{ines.name}/odd/requirements.txt:2: " in done.stderr and "is an option" in done.stderr
