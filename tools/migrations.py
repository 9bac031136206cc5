"""`python -m tools.migrations [NAME]`: write the identity service's next database migration, if its models ask for one."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from django.core.management import call_command

from farmlet.parts.identity.service.django.configuration import parse
from farmlet.parts.identity.service.django.project import start


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        values = {"issuer": "https://localhost", "title": "", "rights": {"groups": []}, "secret_key_file": name, "keys": name}
        start(parse({**values, "database": str(folder / "db.sqlite3")}, "tools.migrations"), "-")
        call_command("makemigrations", "identity", *(["--name", sys.argv[1]] if sys.argv[1:] else []), interactive=False)


if __name__ == "__main__":
    main()
