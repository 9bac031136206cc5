"""The start of a server in its container: with a full home it keeps off it, and says so."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from farmlet.parts.notebooks.inside import start

SCRIPT = Path(start.__file__)
SHOW = "import json, os; print(json.dumps(dict(os.environ)))"


def run(home: Path, room: int | None) -> dict[str, str]:
    """The environment in which the server starts. `room`: bytes that a file of theirs may have, for a quota."""

    def limit() -> None:
        if room is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

    words = [sys.executable, str(SCRIPT), sys.executable, "-c", SHOW]
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], "JUPYTER_PATH": "/ours"}
    done = subprocess.run(words, env=environment, preexec_fn=limit, capture_output=True, text=True, check=True)
    assert ("Your home is full" in done.stderr) is (room is not None)
    return dict(json.loads(done.stdout))


def test_a_home_with_room_is_used(tmp_path: Path) -> None:
    assert run(tmp_path, None)["JUPYTER_PATH"] == "/ours"
    assert list(tmp_path.iterdir()) == []


def test_a_full_home_is_left_alone(tmp_path: Path) -> None:
    found = run(tmp_path, 1 << 19)
    assert all(not found[name].startswith(str(tmp_path)) for name in start.PLACES)
    assert found["JUPYTER_PATH"].split(":") == [f"{tmp_path}/.local/share/jupyter", "/ours"]  # their kernels are still found
    assert list(tmp_path.iterdir()) == []


def test_the_page_is_told_what_is_largest(tmp_path: Path) -> None:
    home, place = tmp_path / "home", tmp_path / "place"
    names = ["small", "big one", '<img src=x>"', "d\n"]
    for size, name in enumerate(names, 1):
        (home / name).mkdir(parents=True)
        (home / name / "x").write_bytes(bytes(size << 20))
    environment: dict[str, str] = {}
    start.keep_off(home, place, environment)
    config = next(Path(path) for path in environment["JUPYTER_CONFIG_PATH"].split(":"))
    told = json.loads((config / "labconfig/page_config.json").read_text())["farmletNotice"]
    assert (
        told.index("4.0 MiB d\n")
        < told.index('3.0 MiB <img src=x>"')
        < told.index("2.0 MiB big one")
        < told.index("1.0 MiB small")
    )


def test_an_endless_home_does_not_hold_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "du").write_text("#!/bin/sh\nsleep 30\n")
    (tmp_path / "du").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(start, "SECONDS", 0.1)
    assert start.find_largest(tmp_path) == []


def test_the_server_starts_without_a_slow_module_and_from_no_folder_of_the_members(tmp_path: Path) -> None:
    home, place = tmp_path / "home", Path(sys.executable).parent
    home.mkdir()
    (home / "runpy.py").write_text("raise SystemExit('from the home')\n")
    program = tmp_path / "server"
    text = "import sys\ntry:\n    import rfc3987_syntax\nexcept ImportError:\n    print(sys.argv, sys.path[0] == '')\n"
    program.write_text(f"#!{place}/python\n{text}")
    program.chmod(0o755)
    words = start.hasten(["server", "--port=1"], {"PATH": str(tmp_path)})
    done = subprocess.run(words, cwd=home, capture_output=True, text=True, check=True)
    assert done.stdout == f"{[str(program), '--port=1']} False\n", done.stderr
    program.write_text(f"#!/elsewhere/bin/python3\n{text}")
    for name in ("server", "none"):
        assert start.hasten([name], {"PATH": str(tmp_path)}) == [name]
