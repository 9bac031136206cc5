"""The database that the migrations make is the one that the models describe."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CHECK = """
import sys
from pathlib import Path
from django.core.management import call_command
from farmlet.parts.identity.service.django.configuration import parse
from farmlet.parts.identity.service.django.project import start

folder = sys.argv[1]
values = {"issuer": "https://localhost", "title": "", "rights": {"groups": []}, "secret_key_file": folder, "keys": folder}
start(parse({**values, "database": f"{folder}/db.sqlite3"}, "test"), "-")
call_command("migrate", verbosity=0)
call_command("makemigrations", "identity", check=True, dry_run=True)
"""


def test_no_migration_is_missing(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", CHECK, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\n`python -m tools.migrations` writes it"
