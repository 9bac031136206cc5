"""The drone's program up to the point where it would start HTCondor, with stand-ins for the site's commands."""

from __future__ import annotations

import os
import re
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest

from farmlet.parts.repositories import PREFIXES, name_attributes

DRONE = Path(str(files("farmlet.parts.overlay").joinpath("templates/drone.sh")))
STARTER = Path(str(files("farmlet.parts.overlay").joinpath("starter.py")))
ARGUMENTS = {
    "cores": "2",
    "memory": "3072.0",
    "disk": "1048576",
    "uuid": "tier1-0a1b2c",
    "collector": "service.example.org:9618",
    "trust": "example.org",
    "site": "tier1",
    "image": "/cvmfs/unpacked/analysis",
    "certificates": "/cvmfs/example.org/certificates",
    "credential": "lab",
    "walltime": "60",
    "idle": "30",
}
STAND_INS = {
    "apptainer": "",
    "bwrap": "",
    "condor_config_val": "echo /site/$1",
    # the only argument of the real one is -f; it tells what it was given
    "condor_master": 'env > "$HOME/environment"; cat "$CONDOR_CONFIG" > /dev/null; exit 7',
}


def run(
    folder: Path, arguments: dict[str, str], token: str = "a.b.c", device: str = "/dev/fuse", **others: str
) -> subprocess.CompletedProcess[str]:
    """drone.sh in `folder` with its PATH turned to the stand-ins first, and to `others`; `device`: instead of /dev/fuse."""
    programs = folder / "bin"
    programs.mkdir()
    for name, body in (STAND_INS | others).items():
        (programs / name).write_text(f"#!/bin/sh\n{body}\n")
        (programs / name).chmod(0o755)
    text, count = re.subn(r"^export PATH=", f"export PATH={programs}:", DRONE.read_text(), flags=re.MULTILINE)
    assert count == 1 and "/dev/fuse" in text
    text = text.replace("/dev/fuse", device)
    (folder / "drone.sh").write_text(text)
    (folder / "starter.py").write_text(STARTER.read_text())
    if token:
        (folder / f"{ARGUMENTS['uuid']}.token").write_text(token)
    words = [f"--{name}={value}" for name, value in arguments.items()]
    environment = {"_CONDOR_SCRATCH_DIR": str(folder), "SITE_SECRET": "1", "PATH": os.environ["PATH"]}
    command = ["bash", str(folder / "drone.sh"), *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=30, check=False)


def test_syntax() -> None:
    assert subprocess.run(["bash", "-n", str(DRONE)], check=False).returncode == 0


def test_writes_its_configuration_and_starts_with_a_clean_environment(tmp_path: Path) -> None:
    done = run(tmp_path, ARGUMENTS)
    # a drone that ends at once is told as one that gave up
    assert done.returncode == 7 and re.fullmatch("drone: .*: HTCondor ended with 7: \n", done.stderr)
    config = (tmp_path / "overlay/condor_config").read_text()
    lines = dict(line.split(" = ", 1) for line in config.splitlines() if " = " in line and not line.startswith("#"))
    assert lines["CONDOR_HOST"] == "service.example.org"
    assert lines["COLLECTOR_HOST"] == "service.example.org:9618"
    assert lines["MEMORY"] == "3072"
    assert lines["FarmletSite"] == '"tier1"'
    assert lines["LIBEXEC"] == "/site/LIBEXEC"
    assert lines["CCB_ADDRESS"] == "$(COLLECTOR_HOST)"
    assert "/srv/.condor_creds/lab.use" in lines["STARTER_JOB_ENVIRONMENT"]
    assert "APPTAINER_NO_EVAL=1 " in lines["STARTER_JOB_ENVIRONMENT"], "a shell would evaluate what a job's owner wrote"
    assert "TARGET.WantDocker =!= True && TARGET.DockerImage =?= undefined\n" in config
    for refused in ("PreCmd", "PostCmd", "ToolDaemonCmd", "TransferPlugins"):
        assert f"TARGET.{refused} =?= undefined" in config
    environment = (tmp_path / "overlay/environment").read_text()
    assert "SITE_SECRET" not in environment
    assert "_CONDOR_SCRATCH_DIR" not in environment
    assert lines["STARTER"] == f"{tmp_path}/overlay/starter"
    assert "FARMLET_STARTER=/site/SBIN/condor_starter" in environment


def test_keeps_the_only_copy_of_its_token_to_itself(tmp_path: Path) -> None:
    run(tmp_path, ARGUMENTS)
    token = tmp_path / "overlay/tokens.d/overlay"
    assert token.read_text() == "a.b.c"
    assert (tmp_path / "overlay/tokens.d").stat().st_mode & 0o077 == 0
    assert not list(tmp_path.glob("*.token"))
    assert "a.b.c" not in (tmp_path / "overlay/condor_config").read_text()


@pytest.mark.parametrize("name", sorted(ARGUMENTS))
def test_refuses_to_start_without_an_argument(tmp_path: Path, name: str) -> None:
    done = run(tmp_path, {key: value for key, value in ARGUMENTS.items() if key != name})
    assert done.returncode == 1
    assert f"--{name} is missing" in done.stderr


@pytest.mark.parametrize("value", ["/x y", "/x\nSTART = True", "/x$(ls)", '"'])
def test_refuses_characters_that_would_change_its_configuration(tmp_path: Path, value: str) -> None:
    done = run(tmp_path, ARGUMENTS | {"image": value})
    assert done.returncode == 1
    assert not (tmp_path / "overlay").exists()


def test_refuses_to_start_without_a_token(tmp_path: Path) -> None:
    assert "no token at" in run(tmp_path, ARGUMENTS, token="").stderr


@pytest.mark.parametrize(("device", "taken"), [("/dev/null", True), ("/dev/no-fuse", False)], ids=["mounted", "unpacked"])
def test_takes_image_files_only_where_they_are_mounted(tmp_path: Path, device: str, taken: bool) -> None:
    """To unpack one takes longer than many jobs run, for each of them anew."""
    run(tmp_path, ARGUMENTS, device=device, squashfuse="", unsquashfs="")
    assert f"\nHasSIF = {taken}\nSTARTD_ATTRS = $(STARTD_ATTRS) HasSIF\n" in (tmp_path / "overlay/condor_config").read_text()


SHOWS_ALL = 'while [ "$1" != -- ]; do shift; done; shift; exec "$@"'
LOOKS = f'case "$*" in *" look "*) {{ {SHOWS_ALL}; }};; esac'
# the look's own patience, shortened
HURRIES = 'if [ "$1" = -k ]; then shift 3; set -- 1 "$@"; fi; exec /usr/bin/timeout "$@"'
HAS = 'case "$2" in /cvmfs/sft.cern.ch) echo README;; /cvmfs/empty.cern.ch) ;; *) exit 2;; esac'


def read_ad(folder: Path) -> dict[str, str]:
    """What the drone's slot will say of repositories; all of it is among the attributes that are advertised."""
    config = (folder / "overlay/condor_config").read_text()
    found = dict(re.findall(r"^(HasCVMFS_\w+|HAS_CVMFS_\w+) = (.*)$", config, re.MULTILINE))
    told = [word for words in re.findall(r"^STARTD_ATTRS = (.*)$", config, re.MULTILINE) for word in words.split()]
    assert all(name in told for name in found)
    return found


def test_tells_which_repositories_a_job_would_see(tmp_path: Path) -> None:
    names = "sft.cern.ch:empty.cern.ch:atlas-nightlies.cern.ch"
    done = run(tmp_path, ARGUMENTS | {"cvmfs": names}, bwrap=LOOKS, ls=HAS)
    assert done.returncode == 7, done.stderr
    found = {"sft_cern_ch": "True", "empty_cern_ch": "False", "atlas_nightlies_cern_ch": "False"}
    assert read_ad(tmp_path) == {prefix + name: value for name, value in found.items() for prefix in PREFIXES}
    assert set(read_ad(tmp_path)) == set(name_attributes(names.split(":")))


def test_a_repository_that_hangs_is_none(tmp_path: Path) -> None:
    done = run(tmp_path, ARGUMENTS | {"cvmfs": "sft.cern.ch"}, bwrap=LOOKS, ls="exec sleep 60", timeout=HURRIES)
    assert done.returncode == 7, done.stderr
    assert read_ad(tmp_path)["HasCVMFS_sft_cern_ch"] == "False"


@pytest.mark.parametrize("value", ["a/../b", "A.B", "a b", "a$b"])
def test_refuses_names_that_are_no_repositories(tmp_path: Path, value: str) -> None:
    done = run(tmp_path, ARGUMENTS | {"cvmfs": value})
    assert done.returncode == 1 and "--cvmfs has characters" in done.stderr


def test_says_nothing_of_repositories_where_the_facility_names_none(tmp_path: Path) -> None:
    run(tmp_path, ARGUMENTS)
    assert read_ad(tmp_path) == {}


REFUSES = "echo one; echo bwrap: No permissions to create new namespace >&2; exit 1"


@pytest.mark.parametrize(
    ("bwrap", "reason"),
    [(REFUSES, "bwrap: No permissions to create new namespace"), (SHOWS_ALL, "overlay/tokens.d is seen there")],
    ids=["none", "leaky"],
)
def test_refuses_to_start_where_jobs_are_not_kept_apart(tmp_path: Path, bwrap: str, reason: str) -> None:
    done = run(tmp_path, ARGUMENTS, bwrap=bwrap)
    assert done.returncode == 1
    assert done.stderr.startswith(f"drone: {os.uname().nodename}: this host cannot run /cvmfs/unpacked/analysis in namespaces")
    assert done.stderr.endswith(f"{reason}\n")
    assert not (tmp_path / "overlay/environment").exists()
