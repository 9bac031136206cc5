"""An interrupt that comes while the command is still being read: no traceback, whatever is being imported then."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

# the import system sends the interrupt when it comes to one module
PRESS = """
import os, signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["AT"]:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
"""


def find_path(first: Path) -> str:
    return os.pathsep.join(filter(None, (str(first), os.environ.get("PYTHONPATH"))))


@pytest.mark.parametrize("module", ["farmlet.cli.main", "argparse", "farmlet.cli.validate", "farmlet.facility.load", "pydantic"])
def test_an_early_interrupt(module: str, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(PRESS)
    script = Path(sys.executable).with_name("farmlet")
    environment = os.environ | {"PYTHONPATH": find_path(tmp_path), "AT": module}
    done = subprocess.run(
        [sys.executable, script, "validate"], env=environment, cwd=tmp_path, capture_output=True, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert "Traceback" not in done.stderr and done.stdout == ""
    assert done.returncode == -signal.SIGINT or (done.returncode == 130 and "validate: interrupted" in done.stderr)


def test_an_interrupt_that_is_ignored_stays_so(tmp_path: Path) -> None:
    """As in the background of a script."""
    (tmp_path / "sitecustomize.py").write_text(PRESS)
    environment = os.environ | {"PYTHONPATH": find_path(tmp_path), "AT": "farmlet.cli.main"}
    script = Path(sys.executable).with_name("farmlet")
    done = subprocess.run(
        [sys.executable, script, "--version"], env=environment, capture_output=True, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )  # fmt: skip
    assert done.returncode == 0 and done.stdout.startswith("farmlet ")
