"""Which files are tests, and what is said of those that are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from farmlet.parts.sitetests import suite
from farmlet.parts.sitetests.command import find_folders

SHIPPED = find_folders({"folder": "", "gates": "", "state": ""}).shipped
GOOD = "# /// sitetest\n# every = 30\n# sites = ['tier1']\n# gate = false\n# ///\ndef test():\n    return 'ok'\n"


def load(folder: Path) -> suite.Suite:
    return suite.load(folder / "none", folder, {"tier1", "hpc"}, 600)


def test_the_shipped_ones_are_all_tests() -> None:
    found = suite.load(SHIPPED, Path("/nonexistent"), {"tier1"}, 600)
    assert not found.faults
    assert set(found.tests) == {"clock", "cvmfs", "image", "network", "power", "room", "storage", "token"}
    assert {test.kind for test in found.tests.values()} == {"function"}


def test_a_header_says_how_it_is_run(tmp_path: Path) -> None:
    (tmp_path / "probe.py").write_text(GOOD)
    (tmp_path / "check_disk").write_text("#!/bin/sh\n")
    (tmp_path / "binary").write_bytes(b"\x7fELF\0\xff")
    (tmp_path / "binary.toml").write_text("timeout = 5\nfiles = ['data.txt']\ncores = 4\nmemory = 2048\ndisk = 5000")
    (tmp_path / "data.txt").write_text("1")
    found = load(tmp_path)
    assert not found.faults and set(found.tests) == {"probe", "check_disk", "binary"}
    probe, disk, binary = (found.tests[name] for name in ("probe", "check_disk", "binary"))
    assert (probe.every, probe.gate, probe.kind) == (30, False, "function")
    assert probe.is_for("tier1") and not probe.is_for("hpc") and disk.is_for("hpc")
    assert (disk.every, disk.timeout, disk.kind, disk.gate) == (600, 60, "program", True)
    assert (probe.cores, probe.memory, probe.disk) == (1, 256, 100)
    assert (binary.cores, binary.memory, binary.disk) == (4, 2048, 5000)
    assert binary.timeout == 5 and [path.name for path in binary.paths] == ["binary", "data.txt"]


def test_ones_own_takes_the_place_of_a_shipped_one(tmp_path: Path) -> None:
    (tmp_path / "clock.py").write_text(GOOD)
    found = suite.load(SHIPPED, tmp_path, {"tier1"}, 600)
    assert not found.faults and found.tests["clock"].paths[0].parent == tmp_path


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("broken.py", "def test(:\n", "is no Python"),
        ("nul.py", "\0", "is no Python"),
        ("Odd Name", "", "is named with"),
        ("queue", "", "not `queue`"),
        ("a\n\x1b[2Jb", "", "is named with"),
        ("é", "", "is named with"),
        ("toml", "# /// sitetest\n# every =\n# ///\n", "is no TOML"),
        ("word", "# /// sitetest\n# evry = 3\n# ///\n", "has evry; it may have every, timeout"),
        ("soon", "# /// sitetest\n# every = 1\n# ///\n", "from 10 to"),
        ("cores", "# /// sitetest\n# cores = 0\n# ///\n", "cores: is a whole number from 1 to 1024"),
        ("memory", "# /// sitetest\n# memory = '2G'\n# ///\n", "memory: is a whole number of MiB from 1 to"),
        ("disk", "# /// sitetest\n# disk = 99999999999\n# ///\n", "disk: is a whole number of MiB from 1 to"),
        ("kind", "# /// sitetest\n# timeout = '5'\n# ///\n", "timeout: is a whole number of seconds"),
        ("where", "# /// sitetest\n# sites = ['mars']\n# ///\n", "there is no site mars"),
        ("planet", '# /// sitetest\n# sites = ["\\u001b[2J"]\n# ///\n', "there is no site"),
        ("gates", "# /// sitetest\n# gate = 1\n# ///\n", "gate: is true or false"),
        ("lists", "# /// sitetest\n# files = 'x'\n# ///\n", "files: is a list"),
        ("out", "# /// sitetest\n# files = ['../../etc/shadow']\n# ///\n", "is no file of this folder"),
        ("lacks", "# /// sitetest\n# files = ['none']\n# ///\n", "is no file of this folder"),
    ],
)
def test_a_file_that_is_no_test_costs_itself(name: str, text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "probe.py").write_text(GOOD)
    (tmp_path / name).write_text(text)
    found = load(tmp_path)
    assert set(found.tests) == {"probe"}
    (fault,) = found.faults
    assert words in fault and fault.isprintable()


def test_too_large_and_unreadable(tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as stream:
        stream.truncate(suite.LARGEST + 1)
    (tmp_path / "same").write_text("")
    (tmp_path / "same.sh").write_text("")
    found = load(tmp_path)
    assert set(found.tests) == {"same"}
    assert "are the most that goes to a site" in found.faults[0] and "there is a test same already" in found.faults[1]
