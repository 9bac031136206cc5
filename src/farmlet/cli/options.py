"""Options and output that the verbs share; the standard library only, since members' own machines have no more."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def add_common(parser: argparse.ArgumentParser, again: bool = False) -> None:
    """The options of every verb about a facility file. `again`: for an action below a verb, where leaving one out does
    not undo it.
    """
    default = argparse.SUPPRESS if again else None
    parser.add_argument(
        "--facility",
        metavar="FILE",
        default=default,
        help="facility file (default: $FARMLET_FACILITY, ./facility.yaml, the sandbox)",
    )
    add_output(parser, again)


def add_output(parser: argparse.ArgumentParser, again: bool = False) -> None:
    """The options of every verb. `again`: as in `add_common`."""
    flag = argparse.SUPPRESS if again else False
    parser.add_argument("--json", action="store_true", default=flag, help="data as JSON on standard output")
    parser.add_argument("-v", "--verbose", action="store_true", default=flag, help="each step; tracebacks")


def add_actions(
    parser: argparse.ArgumentParser,
    actions: Mapping[str, str],
    describe: Callable[[argparse.ArgumentParser, str], None] = lambda parser, action: None,
) -> dict[str, argparse.ArgumentParser]:
    """The actions below a verb, with what is said of them; `describe` adds the arguments of one. Their parsers by name."""
    below = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    made = {action: below.add_parser(action, help=text) for action, text in actions.items()}
    for action, one in made.items():
        add_common(one, again=True)
        describe(one, action)
    return made


def print_json(value: Any) -> None:
    json.dump(value, sys.stdout, indent=2)
    print()


def print_either(args: argparse.Namespace, value: Any, words: str) -> None:
    """The data with `--json`, else the words."""
    if args.json:
        print_json(value)
    else:
        print(words)


def print_table(rows: Sequence[tuple[str, ...]], head: tuple[str, ...]) -> None:
    """Columns as wide as their widest word; the last one runs free."""
    widths = [max(len(row[index]) for row in [head, *rows]) for index in range(len(head))]
    for row in [head, *rows]:
        cells = [cell.ljust(width) for cell, width in zip(row[:-1], widths[:-1], strict=True)]
        print("  ".join([*cells, row[-1]]).rstrip())
