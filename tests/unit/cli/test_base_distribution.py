"""What members install: the base distribution, without the packages of the deploying machine and the service node."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

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
