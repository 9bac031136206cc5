"""`farmlet check`: run checks now, on the nodes where they must hold."""

from __future__ import annotations

import argparse

from farmlet.cli.opening import open_deployment
from farmlet.cli.options import print_json, print_table
from farmlet.engine.health import check_now


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="PART|NAME", help="only these parts or checks")


def run(args: argparse.Namespace) -> int:
    results = check_now(open_deployment(args, running=True), args.names)
    if args.json:
        print_json(results)
    else:
        rows = [
            ("ok" if row["ok"] else "FAIL", row["node"], row["check"], f"{row['evidence']} ({row['seconds']} s)")
            for row in results
        ]
        print_table(rows, ("result", "node", "check", "evidence"))
    return 0 if all(row["ok"] for row in results) else 1
