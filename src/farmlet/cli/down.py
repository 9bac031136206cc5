"""`farmlet down`: stop, or with --purge remove, what `up` made."""

from __future__ import annotations

import argparse

from farmlet.cli.opening import open_deployment
from farmlet.cli.options import print_json


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--purge", action="store_true", help="remove containers, volumes with all data, network, images, state")


def run(args: argparse.Namespace) -> int:
    deployment = open_deployment(args)
    known = deployment.store.exists()
    looked = known or deployment.sandbox.reachable()
    there = known or (args.purge and looked and deployment.exists())
    left = deployment.down(purge=args.purge) if there else []
    if args.json:
        print_json({"facility": deployment.facility.name, "done": there, "purged": args.purge and there, "left": left})
        return 0
    name = f"facility {deployment.facility.name}"
    if not there:
        unseen = "" if looked else " (Docker does not run, so nothing was looked for there)"
        print(f"{name}: nothing to do, it is not up from here{unseen}")
        return 0
    print(f"{name}: {'removed' if args.purge else 'stopped; `farmlet up` starts it again'}")
    if left:
        print(f"left as they are: {', '.join(left)}. These hosts were there before Farmlet: their services run on")
        if args.purge:
            print("the deploy key and the facility's authority are gone: take the key out of root's authorized_keys there")
    return 0
