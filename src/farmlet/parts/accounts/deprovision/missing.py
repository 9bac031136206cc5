"""Members who are missing at their source though it told of no end: its database may have been restored, or be empty.

One member may be removed like that at a source that cannot tell of ends. Where more are missing than that, or all, nobody is
removed before an admin has decided: bring the database back, or let them go.

    python -m farmlet.parts.accounts.deprovision.missing [--folder FOLDER] (--all | NAME …)    let them go; root
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from farmlet.errors import FarmletError, InputError
from farmlet.parts.accounts.source.record import FOLDER
from farmlet.runtime.files import write

FEW = 3  # who may be missing at once at a source that cannot tell of ends
SHOWN = 10


class Guard:
    """Keeps the question in `folder`: `missing.json` are the names it is about, `released.json` those whom an admin let go."""

    def __init__(self, folder: Path) -> None:
        self._asked, self._released = folder / "missing.json", folder / "released.json"

    def hold(self, missing: Collection[str], told: bool, others: bool, keep: bool = True) -> frozenset[str]:
        """Whom to leave as they are, of those who are missing.

        `told`: the source tells of ends, so that nobody should be missing; `others`: there are members who are not. Remembers
        the question if it is to `keep`. Raises FarmletError or OSError.
        """
        released = load(self._released)
        left = frozenset(missing) - released
        # who was asked about stays until there is an answer about them
        held = left if told or not others or len(left) > FEW else left & load(self._asked)
        if keep:
            self._keep(self._asked, held)
            self._keep(self._released, released & set(missing))  # the answer was for this once
        return held

    def list_released(self) -> frozenset[str]:
        """Whom an admin let go, and who are missing still. Raises FarmletError."""
        return load(self._released)

    def release(self, names: Collection[str]) -> frozenset[str]:
        """Let these go, or all who are asked about if there are no names. Raises InputError, FarmletError or OSError."""
        asked = load(self._asked)
        if strange := sorted(set(names) - asked):
            raise InputError(strange[0], "is not missing, or nobody asked", "farmlet check accounts")
        chosen = frozenset(names) or asked
        self._keep(self._released, load(self._released) | chosen)
        return chosen

    def _keep(self, path: Path, names: Collection[str]) -> None:
        if names:
            if load(path) != set(names):
                write(path, json.dumps(sorted(names)).encode(), 0o644)
        else:
            path.unlink(missing_ok=True)


def load(path: Path) -> frozenset[str]:
    """Names in a file; none where there is none. Raises FarmletError."""
    if not path.exists():
        return frozenset()
    try:
        return frozenset(map(str, json.loads(path.read_text())))
    except (OSError, ValueError, TypeError) as error:
        raise FarmletError(str(path), f"cannot be read: {error!r}", "remove it") from error


def tell(names: Collection[str]) -> str:
    """The question in words."""
    shown = ", ".join(sorted(names)[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
    return (
        f"{len(names)} missing at once, of whom nobody said that they were removed: {shown}. They stay as they are until you "
        "decide: bring back the database of who keeps the members, or let them go: farmlet user release NAME … | --all"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Let members go who are missing at their source.")
    parser.add_argument("--folder", type=Path, default=Path(FOLDER))
    parser.add_argument("--all", action="store_true", help="all who are missing")
    parser.add_argument("name", nargs="*")
    options = parser.parse_args(arguments)
    try:
        if options.all == bool(options.name):
            raise InputError("release", "needs the names of members, or --all")
        print(json.dumps(sorted(Guard(options.folder).release(options.name))))
    except (FarmletError, OSError) as error:
        print(error, file=sys.stderr)
        return error.exit_code if isinstance(error, FarmletError) else 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
