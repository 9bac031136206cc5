"""`farmlet plan`: what `up` would change."""

from __future__ import annotations

import argparse

from farmlet.cli.opening import open_deployment, print_json


def add(parser: argparse.ArgumentParser) -> None:
    """No arguments of its own."""


def run(args: argparse.Namespace) -> int:
    plan = open_deployment(args).plan()
    if args.json:
        print_json({"missing": dict(plan.missing), "changes": [change.to_json() for change in plan.changes]})
        return 0 if plan.empty else 3
    for name, state in plan.missing.items():
        print(f"{name}: node is {state}: {'would be made' if state == 'absent' else 'would be started'}")
    for change in plan.changes:
        print(f"{change.node}: {change.resource.label}: {change.reason}")
    if plan.empty:
        print("nothing would change")
        return 0
    print(f"{len(plan.missing)} nodes, {len(plan.changes)} resources would change\nnext: `farmlet up`")
    return 3
