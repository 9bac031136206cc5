"""The program of the unpacked area, on the node that publishes software: its timer's, and what `farmlet images` asks there.

python -m farmlet.parts.software.unpacked.program [--config FILE] list | run | publish NAME | remove NAME
"""

from __future__ import annotations

import argparse
import fcntl
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from farmlet.errors import FarmletError
from farmlet.parts.software.unpacked.area import Area, Setting

CONFIG = "/etc/farmlet/unpacked.json"


def act(setting: Setting, action: str, name: str) -> list[dict[str, object]]:
    """The rows of the area after an action. Raises FarmletError or InputError."""
    if action != "list":
        folder = Path(setting.folder)
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        with (folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            area = Area(setting)  # once others have ended
            if action == "remove":
                area.remove(name)
            else:
                area.update(name)
    return [asdict(row) for row in Area(setting).list()]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="farmlet-unpacked", description="Images of registries, unpacked.")
    parser.add_argument("--config", type=Path, default=Path(CONFIG))
    parser.add_argument("action", choices=("list", "run", "publish", "remove"))
    parser.add_argument("name", nargs="?", default="")
    options = parser.parse_args(arguments)
    try:
        try:
            setting = Setting.read(options.config.read_text())
        except OSError as error:
            raise FarmletError("the wish list", f"is not on the node yet: {error}", "farmlet up") from error
        rows = act(setting, options.action, options.name)
    except FarmletError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    if options.action != "run":
        print(json.dumps(rows))
    for row in rows:
        if row["error"] and options.action == "run":
            print(row["error"])  # for the journal; the check tells it too
    return 0


if __name__ == "__main__":
    sys.exit(main())
