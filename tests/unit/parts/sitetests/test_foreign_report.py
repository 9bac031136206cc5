"""Tests of resource-availability-monitoring as they are: its shell script leaves a report."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farmlet.parts.sitetests import PACKAGE, report
from farmlet.parts.sitetests.result import Result, parse

# as its default configuration has it, without the half minute that sleeps
SCRIPT = """#!/bin/bash

cat <<EOF > job_result.yaml
tests:
  - test: "default_test"
    passed: {first}
    message: "default_test passed"
  - test: second
    passed: True
    message: it's fine
EOF
echo "Done"
exit {code}
"""


def run(folder: Path, text: str) -> list[Result]:
    (folder / "probe").mkdir()
    (folder / "probe/default.sh").write_text(text)
    tests = [{"name": "probe", "file": "default.sh", "kind": "program", "timeout": 20}]
    (folder / "spec.json").write_text(json.dumps({"tests": tests, "environment": {}, "head": 100, "tail": 300}))
    subprocess.run([sys.executable, "-I", str(files(PACKAGE).joinpath("jobs/runner.py"))], cwd=folder, check=True, timeout=60)
    return parse((folder / "result.json").read_bytes(), ["probe"])


@pytest.mark.parametrize(
    ("first", "code", "result", "said"),
    [
        ("True", 0, 0, "2 tests pass"),
        ("False", 0, 2, "default_test: default_test passed"),
        ("True", 2, 2, "Done"),
        ("perhaps", 0, 3, "neither passed nor failed"),
        ("[", 0, 3, "cannot be read"),
    ],
)
def test_its_script_is_taken_unchanged(first: str, code: int, result: int, said: str, tmp_path: Path) -> None:
    found, *parts = run(tmp_path, SCRIPT.format(first=first, code=code))
    assert found.code == result and said in found.text, found
    assert "Done" in found.output and ("ok: second: it's fine" in found.output) is (result in (0, 2))
    if result == 3:
        assert not parts
    else:
        assert [(one.test, one.code) for one in parts] == [("probe/default_test", 2 * (first == "False")), ("probe/second", 0)]
        assert parts[1].text == "it's fine" and not parts[1].output and parts[1].host == found.host


NONE = (
    *("", "[]", "tests:", "tests: []", "tests: [1]", "tests: [{test: a}]", "[" * 300, "[" * 9000, "{" * 9000, "\t:"),
    "a: &a [*a]\ntests: [{passed: true}]",
    "tests: " + json.dumps([{"test": "a", "passed": True}] * 300),
    "tests: [{passed: true, message: !!python/object:os.system x}]",
)


@pytest.mark.parametrize("text", NONE)
def test_what_is_no_report(text: str) -> None:
    with pytest.raises(ValueError, match="job_result"):
        report.read(text)


@given(st.text(max_size=300))
def test_whatever_it_is_it_is_told(text: str) -> None:
    try:
        assert report.read("tests:\n - " + text)
    except ValueError as error:
        assert str(error).startswith("job_result.yaml")
