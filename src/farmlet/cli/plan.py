"""`farmlet plan`: what `up` would change."""

from __future__ import annotations

import argparse

from farmlet.cli.opening import open_deployment
from farmlet.cli.options import print_json

WOULD = {"absent": "would be made", "unreachable": "`up` would stop there"}


def run(args: argparse.Namespace) -> int:
    plan = open_deployment(args).plan()
    if args.json:
        print_json(
            {
                "missing": dict(plan.missing),
                "resized": dict(plan.resized),
                "left": list(plan.left),
                "away": list(plan.away),
                "changes": [change.to_json() for change in plan.changes],
            }
        )
        return 0 if plan.empty else 3
    for name, state in plan.missing.items():
        would = "`up` would go on without it" if name in plan.away else WOULD.get(state, "would be started")
        print(f"{name}: node is {state}: {would}")
    for name, fault in plan.resized.items():
        print(f"{name}: node: {fault}")
    for name in plan.left:
        print(f"{name}: node is no longer in the file: `farmlet node remove {name}` first, or put its lines back")
    for change in plan.changes:
        print(f"{change.node}: {change.resource.label}: {change.reason}")
    if plan.empty:
        print("nothing would change")
        return 0
    following = f"farmlet node remove {plan.left[0]}" if plan.left else "farmlet up"
    print(f"{len(plan.missing) + len(plan.resized)} nodes, {len(plan.changes)} resources would change\nnext: `{following}`")
    return 3
