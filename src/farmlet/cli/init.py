"""`farmlet init`: a facility file to start from."""

from __future__ import annotations

import argparse
from pathlib import Path

from farmlet.cli.options import print_either
from farmlet.errors import InputError
from farmlet.facility.load import default_text


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", nargs="?", default="facility.yaml", help="where to write it (default: facility.yaml)")


def run(args: argparse.Namespace) -> int:
    path = Path(args.path)
    try:
        with path.open("x") as handle:
            handle.write(default_text())
    except FileExistsError:
        raise InputError(str(path), "exists already", "name another file: `farmlet init other.yaml`") from None
    except OSError as error:
        raise InputError(str(path), f"cannot be written: {error.strerror}", "name another place: `farmlet init PATH`") from error
    words = f"wrote {path}\nnext: edit it, then `farmlet validate`, then `farmlet up`"
    print_either(args, {"path": str(path.resolve())}, words)
    return 0
