"""`farmlet validate`: every error of the facility file, with file and line."""

from __future__ import annotations

import argparse

from farmlet.cli.opening import open_facility
from farmlet.cli.options import print_json


def add(parser: argparse.ArgumentParser) -> None:
    """No arguments of its own."""


def run(args: argparse.Namespace) -> int:
    facility, _ = open_facility(args)
    if args.json:
        print_json(facility.model_dump(mode="json"))
        return 0
    for node in facility.nodes.values():
        print(f"{node.fqdn}: {' '.join(node.roles)}")
    print(f"facility {facility.name} is valid\nnext: `farmlet plan`, then `farmlet up`")
    return 0
