"""What is taken away before the server starts: files that were not closed, and nothing else."""

from __future__ import annotations

import runpy
from importlib.resources import files
from pathlib import Path

import pytest


@pytest.mark.parametrize("hostile", [b"/../outside", b"/folder", b"/folder/", b"//", b"/closed", b"/link", b"/none", b"/\xff\n"])
def test_only_files_that_were_not_closed_go(tmp_path: Path, hostile: bytes) -> None:
    program = runpy.run_path(str(files("farmlet.parts.storage") / "templates" / "sweep.py"))
    root, log = tmp_path / "root", tmp_path / "posc.log"
    (root / "folder").mkdir(parents=True)
    for path in (tmp_path / "outside", root / "closed", root / "open", root / "folder" / "open"):
        path.write_bytes(b"x")
        path.chmod(0o1644 if path.name != "closed" else 0o644)
    (root / "link").symlink_to(tmp_path / "outside")
    log.write_bytes(bytes(64) + b"\xd3\x05\0\0" + b"\0".join((b"/open", hostile, b"/folder/open", b"")))
    program["sweep"](str(root), str(log))
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert left == {"outside", "root", "root/closed", "root/folder", "root/link"}
    program["sweep"](str(root), str(log))  # there is no list any more
