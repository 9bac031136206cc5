"""`farmlet node`: the nodes, and a root command on one of them."""

from __future__ import annotations

import argparse
from typing import Any

from farmlet.cli.opening import open_deployment
from farmlet.cli.options import add_common, print_json, print_table
from farmlet.errors import InputError


def add(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="all nodes, their state and address")
    add_common(listing, again=True)
    exec_ = actions.add_parser("exec", help="a root command on one node: farmlet node exec NODE -- COMMAND")
    exec_.add_argument("name", help="the node")
    exec_.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND", help="what to run there as root")


def run(args: argparse.Namespace) -> int:
    deployment = open_deployment(args, running=True)
    if args.action == "exec":
        command = args.command[1:] if args.command[:1] == ["--"] else args.command
        if not command:
            raise InputError("farmlet node exec", "needs a command", "farmlet node exec head -- systemctl --failed")
        print(deployment.run(args.name, command, timeout=600), end="")
        return 0
    rows: list[dict[str, Any]] = []
    for name, machine in deployment.layout.machines().items():
        target = deployment.target(name)
        node = deployment.facility.nodes.get(name)
        rows.append(
            {
                "node": name,
                "state": target.driver.state(machine),
                "name": machine.fqdn,
                "address": target.driver.address(machine),
                "roles": list(node.roles) if node else ["stand-in site"],
            }
        )
    if args.json:
        print_json(rows)
    else:
        print_table(
            [(row["node"], row["state"], row["address"], row["name"], " ".join(row["roles"])) for row in rows],
            ("node", "state", "address", "name", "roles"),
        )
    return 0
