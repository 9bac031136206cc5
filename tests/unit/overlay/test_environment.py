"""What we add to TARDIS, in TARDIS' own virtual environment: the pinned requirements and the base distribution."""

from __future__ import annotations

import getpass
import json
import os
import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from ordering import POOL, make_site

from farmlet.parts.overlay import render
from farmlet.parts.overlay.checks import read_pause
from farmlet.parts.overlay.sites.kind import Pool, Site

pytestmark = [pytest.mark.service, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[3]
PROBE = Path(__file__).with_name("probe.py")


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of the environment."""
    folder = tmp_path_factory.mktemp("tardis")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    uv = str(Path(sys.executable).with_name("uv"))  # with less work than pip
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, str(folder / "venv")], check=True)
    # without the hashes, which are those of the files that nodes' own Python takes
    pinned = files("farmlet.parts").joinpath("requirements/tardis.txt").read_text()
    (folder / "tardis.txt").write_text(re.sub(r" \\\n +--hash=\S+", "", pinned))
    pip = [uv, "pip", "install", "-q", "--python", str(folder / "venv/bin/python")]
    subprocess.run([*pip, "-r", str(folder / "tardis.txt")], check=True)
    subprocess.run([*pip, "--no-deps", *map(str, folder.glob("*.whl"))], check=True)
    return folder / "venv/bin/python"


# `condor_token_fetch` and `condor_submit` tell what they were started with; the token itself must never be there.
STAND_INS = {
    "condor_q": 'cat "$LAB/queue"',
    "condor_token_fetch": 'echo "$@" >> "$LAB/fetched"; [ ! -e "$LAB/refuse" ] && echo "secret.token.$(wc -l < "$LAB/fetched")"',
    "condor_submit": 'env > "$LAB/environment"; pwd; cat',
}


@pytest.fixture(scope="module")
def probe(python: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The folder in which the probe ran and what it saw."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / "bin").mkdir()
    for name, body in STAND_INS.items():
        (folder / "bin" / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / "bin" / name).chmod(0o755)
    for name in ("drone.sh", "starter.py"):
        (folder / name).write_text(f"#!/bin/sh\n# {name}\n")
    pool, site = make_settings(folder)
    (folder / "tardis.yml").write_text(render.tardis(pool, [site]))
    environment = {"PATH": f"{folder}/bin:{os.environ['PATH']}", "LAB": str(folder), "HOME": str(folder)}
    command = [str(python), "-I", str(PROBE), str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


def make_settings(folder: Path = Path("/")) -> tuple[Pool, Site]:
    pool = POOL.copy()
    pool.update(schedds=["head.example.org"], programs=["/drone.sh", "/starter.py"])
    pool.update(settings="/tardis.yml", registry="/drones.db", told=str(folder / "demand.json"))
    user, sizes = getpass.getuser(), {"cores": 1, "memory": 1024, "disk": 1024, "quota": 4}
    site = make_site(user=user, order="/tier1.jdl", idle=60, pending=600, **sizes)
    return pool, site


def test_cobald_loads_what_we_render(python: Path, tmp_path: Path) -> None:
    """Both files through the programs' own loaders, up to a controller over a pool."""
    pool, site = make_settings()
    pool["settings"], pool["registry"] = str(tmp_path / "tardis.yml"), str(tmp_path / "drones.db")
    (tmp_path / "tardis.yml").write_text(render.tardis(pool, [site]))
    (tmp_path / "cobald.yml").write_text(render.cobald(pool, [site]))
    code = (
        "import sys; from cobald.daemon.core.config import load\n"
        "with load(sys.argv[1]) as settings: print(settings)\n"
        "print(sorted(name for name in sys.modules if name.startswith('farmlet.')))"
    )
    command = [str(python), "-I", "-c", code, str(tmp_path / "cobald.yml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "DemandController" in done.stdout
    assert "farmlet.parts.overlay.executor" in done.stdout
    assert "farmlet.engine" not in done.stdout


def test_controller_keeps_the_demand_while_the_queue_cannot_be_read(probe: tuple[Path, dict[str, Any]]) -> None:
    seen = probe[1]["controller"]["seen"]
    assert seen[0] == [3.0, 1.0]
    assert [demand for demand, _ in seen[1:10]] == [3.0] * 9
    pauses = [pause for _, pause in seen[1:10]]
    assert pauses == sorted(pauses) and pauses[0] == 2 and pauses[-1] == 15
    assert seen[10:12] == [[0.0, 2.0], [1.0, 1.0]], "a queue that wants nothing is asked more seldom"
    # while the queue cannot be read, that a job is not taken says nothing about it
    assert [demand for demand, _ in seen[12:]] == [1.0, 2.0, 1.0]
    told = probe[1]["controller"]["told"]
    # of two jobs one has a free drone beside it, which does not take it
    assert told["odd"] == {"ada": 1} and told["demand"] == 1 and told["untaken"] == ["12.0 of ada at head"]


def test_an_access_point_that_does_not_answer_keeps_no_other_waiting(probe: tuple[Path, dict[str, Any]]) -> None:
    several = probe[1]["several"]
    assert several["seen"] == [4, 5, 3]
    assert "mute" in several["silent"] and "good" not in several["silent"]
    assert several["longest"] == 15


def test_controller_tells_once_and_hastens_the_pool(probe: tuple[Path, dict[str, Any]]) -> None:
    controller = probe[1]["controller"]
    assert len(controller["messages"]) == 4
    assert "cannot be read" in controller["messages"][0]
    assert "after 9 failures" in controller["messages"][1]
    assert controller["interval"] == 2


def test_a_closed_site_gets_no_drones_and_the_others_get_its_share(probe: tuple[Path, dict[str, Any]]) -> None:
    seen = probe[1]["gates"]  # of all, of tier1 (4 cores at most), of hpc (8)
    assert seen["none"] == [6, 3, 3]
    assert seen["first"] == [6, 0, 6]
    assert seen["both"] == [0, 0, 0]
    assert seen["other"] == [4, 4, 0]
    assert seen["stale"] == seen["none"], "a gate that nobody keeps counts no more"


def test_every_order_has_its_own_token_at_the_site(probe: tuple[Path, dict[str, Any]]) -> None:
    folder, result = probe
    drones = folder / "site/farmlet-example.org"
    tokens = {path.name: path.read_text() for path in drones.glob("*.token")}
    assert tokens == {"tier1-aa.token": "secret.token.1\n", "tier1-bb.token": "secret.token.2\n"}
    assert {path.stat().st_mode & 0o077 for path in drones.iterdir()} == {0}
    for name in ("drone.sh", "starter.py"):
        assert (drones / name).read_text() == (folder / name).read_text()
    answer = result["executor"]["answer"].splitlines()
    assert answer[0] == str(drones)
    assert [line for line in answer if "FarmletOrder" in line] == ["FarmletOrder = tier1-aa", "FarmletOrder = tier1-bb"]
    fetched = (folder / "fetched").read_text().splitlines()[0]
    assert "-lifetime 4800 -authz ADVERTISE_STARTD -authz ADVERTISE_MASTER" in fetched


def test_no_token_in_arguments_environment_or_errors(probe: tuple[Path, dict[str, Any]]) -> None:
    folder, result = probe
    assert "secret.token" not in json.dumps(result)
    assert "secret.token" not in (folder / "environment").read_text()


def test_what_fails_at_a_site_is_tried_again_and_never_ends_cobald(probe: tuple[Path, dict[str, Any]]) -> None:
    without_token, failed, _ = probe[1]["executor"]["refusals"]
    assert "condor_token_fetch failed" in without_token
    assert failed == "3"


def test_where_drones_give_up_no_more_are_ordered_for_a_while(probe: tuple[Path, dict[str, Any]]) -> None:
    folder, result = probe
    assert result["executor"]["refusals"][-1] == "drones give up there"
    told = json.loads((folder / "pause-tier1.json").read_text())
    assert (told["count"], told["reason"]) == (1, "wn17: this host has no bwrap")
    assert "no drones are ordered for 1" in read_pause(folder / "pause-tier1.json", told["until"] - 15)
    assert read_pause(folder / "pause-tier1.json", told["until"]) == ""
