"""`farmlet status`: the last results of the node agents."""

from __future__ import annotations

import argparse

from farmlet.cli.opening import open_deployment
from farmlet.cli.options import print_json, print_table
from farmlet.engine.status import status


def run(args: argparse.Namespace) -> int:
    found = status(open_deployment(args, running=True))
    if args.json:
        print_json(found)
        return 0 if found["ok"] else 1
    print(f"facility {found['facility']}: {'all well' if found['ok'] else 'NOT well'}")
    rows = [(part["state"], part["node"], part["part"], f"{part['evidence']} ({part['age']} s ago)") for part in found["parts"]]
    print_table(rows, ("state", "node", "check", "evidence"))
    for note in found["notes"]:
        print(f"note: {note}")
    for name, value in found["endpoints"].items():
        print(f"  {name:9} {value}")
    return 0 if found["ok"] else 1
