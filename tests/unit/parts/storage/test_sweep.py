"""What is taken away before the server starts: files that were not closed, and nothing else."""

from __future__ import annotations

import os
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


def test_a_name_that_is_no_text_keeps_the_server_from_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = runpy.run_path(str(files("farmlet.parts.storage") / "templates" / "sweep.py"))
    names = [os.fsdecode(b"\xff\x1b[2J"), "\n", "é", "z"]
    for name in names:
        (tmp_path / name).write_bytes(b"half")
        (tmp_path / name).chmod(0o1644)
    log = tmp_path / "posc.log"
    log.write_bytes(b"\0".join(b"/" + os.fsencode(name) for name in names) + b"\0")
    program["sweep"](str(tmp_path), str(log))
    assert not list(tmp_path.iterdir())
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_what_was_to_replace_a_file_goes_and_that_file_stays(tmp_path: Path) -> None:
    program = runpy.run_path(str(files("farmlet.parts.storage") / "templates" / "sweep.py"))
    root, log = tmp_path / "root", tmp_path / "posc.log"
    (root / "folder").mkdir(parents=True)
    for name, data, mode in (
        ("old", b"old", 0o644),
        (".farmlet-new-12-0", b"half", 0o1644),
        (".farmlet-new-12-1", b"", 0o644),
        (".farmlet-new-mine", b"half", 0o1644),
        (".farmlet-new-12-2", b"somebody gave it this name", 0o644),
    ):
        (root / "folder" / name).write_bytes(data)
        (root / "folder" / name).chmod(mode)
    log.write_bytes(bytes(64) + b"/folder/old\0/gone/old\0")
    program["sweep"](str(root), str(log))
    assert {path.name for path in (root / "folder").iterdir()} == {"old", ".farmlet-new-mine", ".farmlet-new-12-2"}
