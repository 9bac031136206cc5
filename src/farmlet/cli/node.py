"""`farmlet node`: the nodes, and a root command on one of them."""

from __future__ import annotations

import argparse

from farmlet.cli.opening import open_deployment, print_json, print_table
from farmlet.errors import InputError


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("list", "exec"))
    parser.add_argument("name", nargs="?", help="node (exec)")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND", help="what to run there as root (exec)")


def run(args: argparse.Namespace) -> int:
    deployment = open_deployment(args, running=True)
    if args.action == "exec":
        command = args.command[1:] if args.command[:1] == ["--"] else args.command
        if not args.name or not command:
            raise InputError("farmlet node exec", "needs a node and a command", "farmlet node exec head -- systemctl --failed")
        print(deployment.run(args.name, command, timeout=600), end="")
        return 0
    rows = []
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
