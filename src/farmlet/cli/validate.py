"""`farmlet validate`: every error of the facility file, with file and line."""

from __future__ import annotations

import argparse

from farmlet.cli.opening import open_facility
from farmlet.cli.options import print_json
from farmlet.facility.model import Facility
from farmlet.parts.part import find_notes


def list_names(facility: Facility) -> dict[str, tuple[str, ...]]:
    """Host → the names that members' machines and the other nodes must find it by; a sandbox sees to those of containers."""
    hosts = [node for node in facility.nodes.values() if node.connect in ("ssh", "local")]
    return {node.address or "this host": node.certified for node in hosts}


def run(args: argparse.Namespace) -> int:
    facility, parts = open_facility(args)
    if args.json:
        print_json(facility.model_dump(mode="json"))
        return 0
    for node in facility.nodes.values():
        print(f"{node.fqdn}: {' '.join(node.roles)}")
    if names := list_names(facility):
        print("DNS must lead to")
        for host, led in names.items():
            print(f"  {host}: {' '.join(led)}")
    for note in find_notes(facility, parts):
        print(f"note: {note}")
    print(f"facility {facility.name} is valid\nnext: `farmlet plan`, then `farmlet up`")
    return 0
