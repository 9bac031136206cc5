"""Benchmarks begin: what each of them imports is there, of the tests too."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from farmlet.parts.notebooks.hub.server import Server
from farmlet.parts.notebooks.hub.settings import Settings

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


def test_the_crowd_has_the_settings_and_the_server_of_today(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    crowd, names = importlib.import_module("crowd"), dict[str, Any]()
    crowd.prepare(tmp_path)
    TypeAdapter(Settings).validate_json((tmp_path / "settings.json").read_text(), strict=True)
    exec(crowd.CONFIG.partition("c = get_config()")[0], names)
    left = {name for name, one in vars(Server).items() if getattr(one, "__isabstractmethod__", False)} | {"poll"}
    assert left <= set(vars(names["Stub"])), "the Hub calls these"
