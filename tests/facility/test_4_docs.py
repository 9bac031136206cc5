"""Every command of the README and the guides that is marked for it runs, in a folder with the sandbox up."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sandbox import Sandbox

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "unit" / "docs"))
from commands import blocks  # noqa: E402

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
CASES = [(page, number, text) for page in PAGES for number, text in enumerate(blocks(page))]
pytestmark = [pytest.mark.facility, pytest.mark.lane("demo"), pytest.mark.usefixtures("running"), pytest.mark.timeout(600)]


def test_there_are_commands_to_run() -> None:
    assert len(CASES) > 5


IDS = [f"{page.relative_to(ROOT)}-{number}" for page, number, _ in CASES]


@pytest.mark.parametrize(("page", "number", "text"), CASES, ids=IDS)
def test_commands_of_the_docs(sandbox: Sandbox, page: Path, number: int, text: str) -> None:
    if text.strip() == "farmlet demo" and (sandbox.folder / "farmlet-demo" / "fit.json").exists():
        return  # test_2_demo.py has run it in this folder
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    # the guides speak of the built-in sandbox's domain
    script = text.replace("farmlet.test", sandbox.domain)
    command = ["bash", "-euo", "pipefail", "-c", script]
    done = subprocess.run(command, cwd=sandbox.folder, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
