"""The runner as it runs in a job: a process of its own over files, with tests that do what tests should not."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from farmlet.parts.sitetests import PACKAGE
from farmlet.parts.sitetests.result import OUTPUT, parse

RUNNER = str(files(PACKAGE).joinpath("jobs/runner.py"))


def run(folder: Path, text: str, kind: str = "function", timeout: int = 20) -> dict[str, Any]:
    """What the runner tells of a test with this text."""
    name = "probe.py" if kind == "function" else "probe"
    (folder / "probe").mkdir()
    (folder / "probe" / name).write_text(text)
    (folder / "probe" / name).chmod(0o700)
    tests = [{"name": "probe", "file": name, "kind": kind, "timeout": timeout}]
    spec = {"tests": tests, "environment": {"FARMLET_SITE": "tier1"}, "head": 100, "tail": 300}
    (folder / "spec.json").write_text(json.dumps(spec))
    subprocess.run([sys.executable, "-I", RUNNER], cwd=folder, check=True, timeout=60)
    (found,) = json.loads((folder / "result.json").read_text())["results"]
    assert parse((folder / "result.json").read_bytes(), ["probe"])[0].code == found["code"]
    return dict(found)


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("import os\ndef test():\n    print('more')\n    return os.environ['FARMLET_SITE'] + '|x=1s'", 0, "tier1|x=1s"),
        ("def test():\n    return 1, 'slow'", 1, "slow"),
        ("def test(): pass", 0, "ok"),
        ("def test():\n    assert 1 > 2, 'broken'", 2, "broken"),
        ("import sys\ndef test():\n    sys.exit('enough')", 2, "enough"),
        ("import nothing_of_the_kind\ndef test(): pass", 2, "No module named 'nothing_of_the_kind'"),
        ("def test():\n    return 7, 'odd'", 3, "odd"),
    ],
)
def test_functions(text: str, code: int, said: str, tmp_path: Path) -> None:
    found = run(tmp_path, text)
    assert (found["code"], found["text"]) == (code, said)
    assert ("Traceback" in found["output"]) is (code == 2)


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("#!/bin/sh\necho 'DISK OK - 3 free|free=3'; exit 0", 0, "DISK OK - 3 free|free=3"),
        ("#!/bin/sh\necho; echo 'DISK WARNING'; exit 1", 1, "DISK WARNING"),
        ("#!/bin/sh\necho 'DISK CRITICAL' >&2; exit 2", 2, "DISK CRITICAL"),
        ("#!/bin/sh\nexit 0", 0, "it said nothing"),
        ("#!/bin/sh\nkill -9 $$", 3, "ended with -9"),
        ("#!/bin/sh\nexit 17", 3, "ended with 17"),
        ("no program at all\n", 3, "cannot be started"),
    ],
)
def test_programs_by_the_contract_of_the_monitoring_plugins(text: str, code: int, said: str, tmp_path: Path) -> None:
    found = run(tmp_path, text, "program")
    assert found["code"] == code and found["text"].startswith(said), found


def test_a_test_that_never_ends_is_ended_with_all_it_began(tmp_path: Path) -> None:
    found = run(tmp_path, "#!/bin/sh\nsleep 1000 & echo $! > pid; echo begun; wait", "program", timeout=1)
    assert (found["code"], found["text"]) == (2, "did not end within 1 s")
    assert "begun" in found["output"]
    status = Path("/proc", (tmp_path / "probe/pid").read_text().strip(), "stat")
    assert not status.exists() or status.read_text().split()[2] == "Z"


def test_who_keeps_the_output_open_keeps_nobody(tmp_path: Path) -> None:
    assert run(tmp_path, "#!/bin/sh\nsleep 1000 &\necho fine", "program")["text"] == "fine"


def test_of_much_output_the_beginning_and_the_end_are_kept(tmp_path: Path) -> None:
    text = "#!/bin/sh\necho first; head -c 100000000 /dev/zero | tr '\\0' x; echo; echo last; exit 2"
    found = run(tmp_path, text, "program")
    assert found["code"] == 2 and found["text"] == "first"
    assert found["output"].startswith("first\n") and found["output"].endswith("last\n")
    assert len(found["output"]) < OUTPUT and found["dropped"] == 100_000_012 - 400


def test_the_runner_and_what_is_shipped_run_by_an_old_python() -> None:
    import ast

    for path in [Path(RUNNER), Path(RUNNER).with_name("outpost.py"), *Path(str(files(PACKAGE).joinpath("shipped"))).glob("*.py")]:
        ast.parse(path.read_text(), feature_version=(3, 6))
