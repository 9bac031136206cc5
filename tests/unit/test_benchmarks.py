"""Benchmarks begin: what each of them imports is there, of the tests too."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEBIANS = {"ldap"}  # packages that come from Debian, with `make bench`


def list_imports(script: Path) -> list[str]:
    """Its imports and the folders it takes modules from, as lines; nothing else of it is run."""
    found = []
    for node in ast.parse(script.read_text()).body:
        text = ast.unparse(node)
        if isinstance(node, ast.Import | ast.ImportFrom) or text.startswith("sys.path."):
            found.append(text)
    return found


@pytest.mark.parametrize("script", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda path: path.stem)
def test_what_a_benchmark_imports_is_there(script: Path) -> None:
    lines = "\n".join(list_imports(script)).replace("from __future__ import annotations\n", "")
    program = "\n".join(
        [
            "import sys",
            "from pathlib import Path",
            f"__file__ = {str(script)!r}",
            "sys.path.insert(0, str(Path(__file__).parent))",
            lines,
        ]
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, timeout=60)
    missing = done.stderr.rpartition("No module named '")[2].partition("'")[0]
    assert done.returncode == 0 or missing in DEBIANS, done.stderr
