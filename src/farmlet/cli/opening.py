"""From the command line to a facility: which file, its parts, its stand-in sites, its deployment."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from farmlet.engine.deployment import Deployment
from farmlet.engine.report import Report
from farmlet.engine.store import Store
from farmlet.errors import InputError
from farmlet.facility.load import default_text, load, loads
from farmlet.facility.model import Facility
from farmlet.parts.part import Part, find
from farmlet.sandbox import standins


def add_common(parser: argparse.ArgumentParser, again: bool = False) -> None:
    """The options of every verb. `again`: for an action below a verb, where leaving one out does not undo it."""
    default = argparse.SUPPRESS if again else None
    parser.add_argument(
        "--facility",
        metavar="FILE",
        default=default,
        help="facility file (default: $FARMLET_FACILITY, ./facility.yaml, the sandbox)",
    )
    flag = argparse.SUPPRESS if again else False
    parser.add_argument("--json", action="store_true", default=flag, help="data as JSON on standard output")
    parser.add_argument("-v", "--verbose", action="store_true", default=flag, help="each step; tracebacks")


def open_facility(args: argparse.Namespace) -> tuple[Facility, dict[str, Part]]:
    """The facility file named, in the environment, in this folder, or the built-in sandbox."""
    parts = find()
    named = args.facility or os.environ.get("FARMLET_FACILITY")
    if named or Path("facility.yaml").exists():
        return load(Path(named or "facility.yaml"), parts), parts
    return loads(default_text(), "the built-in sandbox", parts, Path.cwd()), parts


def open_deployment(args: argparse.Namespace, running: bool = False) -> Deployment:
    """The deployment of that facility; with `running`, InputError unless `up` has made it."""
    facility, parts = open_facility(args)
    store = Store(facility.folder or Path.cwd(), facility.name)
    if running and not store.exists():
        raise InputError(f"facility {facility.name}", f"is not up: nothing at {store.path}", "farmlet up")
    return Deployment(facility, parts, standins(facility), store, Report(verbose=args.verbose))


def print_json(value: Any) -> None:
    json.dump(value, sys.stdout, indent=2)
    print()


def print_table(rows: Sequence[tuple[str, ...]], head: tuple[str, ...]) -> None:
    """Columns as wide as their widest word; the last one runs free."""
    widths = [max(len(row[index]) for row in [head, *rows]) for index in range(len(head))]
    for row in [head, *rows]:
        cells = [cell.ljust(width) for cell, width in zip(row[:-1], widths[:-1], strict=True)]
        print("  ".join([*cells, row[-1]]).rstrip())
