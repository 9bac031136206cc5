"""The script that comes with resource-availability-monitoring, out of its package and unchanged, as a test of a site."""

from __future__ import annotations

import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

from farmlet.parts.sitetests import PACKAGE, suite
from farmlet.parts.sitetests.jobs.job import pack
from farmlet.parts.sitetests.result import parse

pytestmark = [pytest.mark.service, pytest.mark.timeout(120)]

PEER = "resource-availability-monitoring==0.2.8"
SCRIPT = "resource_availability_monitoring/default_configuration/default/default.sh"


def test_its_script_out_of_its_package_is_a_test(tmp_path: Path) -> None:
    uv = str(Path(sys.executable).with_name("uv"))
    # without what it needs itself, which its script does not
    command = [uv, "pip", "install", "--quiet", "--no-deps", "--target", str(tmp_path / "peer"), PEER]
    subprocess.run(command, check=True, timeout=100)
    for name in ("own", "bin", "job"):
        (tmp_path / name).mkdir()
    (tmp_path / "own/default.sh").write_bytes((tmp_path / "peer" / SCRIPT).read_bytes())
    (tmp_path / "bin/sleep").symlink_to("/bin/true")  # it would wait for half a minute
    found = suite.load(tmp_path / "none", tmp_path / "own", ["tier1"], 600)
    assert not found.faults
    for path, data in pack("tier1-1", list(found.tests.values()), {"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"}, 60).items():
        (tmp_path / "job" / path).parent.mkdir(exist_ok=True)
        (tmp_path / "job" / path).write_bytes(data)
    runner = str(files(PACKAGE).joinpath("jobs/runner.py"))
    subprocess.run([sys.executable, "-I", runner], cwd=tmp_path / "job", check=True, timeout=60)
    whole, part = parse((tmp_path / "job/result.json").read_bytes(), ["default"])
    assert (whole.code, whole.text) == (0, "1 tests pass") and "Done" in whole.output
    assert (part.test, part.code, part.text) == ("default/default_test", 0, "default_test passed")
