"""What members install: the base distribution, without the packages of the deploying machine and the service node."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXTRAS = ("pydantic", "ruamel", "docker", "cryptography", "jinja2", "django", "joserfc", "gunicorn", "segno")


def test_the_command_is_whole_in_the_base_distribution(tmp_path: Path) -> None:
    """With none of the packages that only the deploying machine or the service node has."""
    code = (
        "import sys\n"
        f"for name in {EXTRAS}:\n"
        "    sys.modules[name] = None\n"
        "import farmlet.cli.main as m\n"
        "for words in (['login', '--help'], ['logout', '--help']):\n"
        "    try: m.main(words)\n"
        "    except SystemExit as end: assert end.code == 0\n"
        "assert m.main(['login', '--status']) == 1\n"
        "import farmlet.parts.access.login.enter, farmlet.parts.access.login.leave, farmlet.parts.access.login.stay\n"
    )
    environment = os.environ | {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "--fresh" in done.stdout, done.stderr


def run_bare(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """The command where nothing but the base distribution is installed."""
    code = (
        f"import sys\nfor name in {EXTRAS}: sys.modules[name] = None\nfrom farmlet.cli.main import main; sys.exit(main({words}))"
    )
    environment = os.environ | {"HOME": str(folder)}
    return subprocess.run([sys.executable, "-c", code], env=environment, cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize(
    "words", [["up"], ["status", "--help"], ["user", "add", "--help"], ["node", "list"], ["validate"], ["token"]]
)
def test_what_is_missing_for_an_admin_is_said(words: list[str], tmp_path: Path) -> None:
    done = run_bare(words, tmp_path)
    assert done.returncode == 1 and done.stdout == ""
    assert f"farmlet {words[0]}: needs the package " in done.stderr and "Error" not in done.stderr
    assert "hint: " in done.stderr and ".[deploy]" in done.stderr and "not ours yet" in done.stderr


def test_every_verb_of_an_admin_says_what_is_missing(tmp_path: Path) -> None:
    """Its help too, whichever verbs there are."""
    code = (
        f"import sys\nfor name in {EXTRAS}: sys.modules[name] = None\n"
        "from farmlet.cli.main import OWN, VERBS, main\n"
        "print({verb: main([verb, '--help']) for verb in VERBS if verb not in OWN})"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.startswith("{'init': 1, ") and set(re.findall(r": (\d)", done.stdout)) == {"1"}, done
    assert done.stderr.count("needs the package ") == done.stderr.count("hint: in a clone") == done.stdout.count(":")
