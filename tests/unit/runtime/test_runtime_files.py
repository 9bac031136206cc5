"""Files that stay: what a power failure does to them is in tests/service/identity/test_power.py."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest

import farmlet
from farmlet.runtime import files

SOURCE = Path(farmlet.__file__).parent
# the one function; a program that runs on nodes without us and does the same; and three whose files are made again of what
# is kept: a member's each, an image that is fetched, a member's own image that is unpacked
ALLOWED = {
    "runtime/files.py",
    "engine/payload/place.py",
    "parts/batch/readers.py",
    "runtime/published.py",
    "parts/notebooks/own.py",
}


def find_renames(text: str) -> list[int]:
    """Lines that rename a file. `Path.replace` has one argument, `str.replace` two."""
    tree = ast.parse(text)
    modules = {name.asname or name.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for name in node.names}
    return [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Call) and renames(node, modules)]


def renames(call: ast.Call, modules: set[str]) -> bool:
    if not isinstance(call.func, ast.Attribute):
        return False
    owner, verb = call.func.value.id if isinstance(call.func.value, ast.Name) else "", call.func.attr
    if owner in ("os", "shutil"):
        return verb in ("rename", "renames", "replace", "move")
    return verb in ("rename", "replace") and len(call.args) == 1 and not call.keywords and owner not in modules


def test_nobody_else_renames() -> None:
    found = {str(path.relative_to(SOURCE)): find_renames(path.read_text()) for path in SOURCE.rglob("*.py")}
    assert {name for name, lines in found.items() if lines} == ALLOWED


@pytest.mark.parametrize("text", ["os.replace(a, b)", "a.rename(b)", "(a / b).replace(c)", "shutil.move(a, b)"])
def test_the_test_sees_what_it_looks_for(text: str) -> None:
    assert find_renames(text)
    assert not find_renames("from x import keys\ntext.replace('a', 'b'); replace(a, b=1); keys.replace(folder)")


def test_the_folder_is_synced_after_the_file_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[bool, bool]] = []
    real = os.fsync

    def fsync(number: int) -> None:
        path = Path(f"/proc/self/fd/{number}").readlink()
        seen.append((path.is_dir(), (tmp_path / "one").exists()))
        real(number)

    monkeypatch.setattr(os, "fsync", fsync)
    files.write(tmp_path / "one", b"data")
    assert seen == [(False, False), (True, True)]


def test_a_file_system_that_cannot_sync_a_folder_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(code: int) -> None:
        def fsync(number: int) -> None:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(os, "fsync", fsync)

    refuse(22)  # EINVAL
    files.sync(tmp_path)
    refuse(5)  # EIO
    with pytest.raises(OSError, match="Input/output"):
        files.sync(tmp_path)
