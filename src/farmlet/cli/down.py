"""`farmlet down`: stop, or with --purge remove, what `up` made."""

from __future__ import annotations

import argparse

from farmlet.cli.opening import open_deployment


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--purge", action="store_true", help="remove containers, volumes with all data, network, images, state")


def run(args: argparse.Namespace) -> int:
    deployment = open_deployment(args)
    name = deployment.facility.name
    if not deployment.store.exists() and not deployment.sandbox.reachable():
        print(f"facility {name}: nothing to do, it is not up from here (Docker does not run, so nothing was looked for there)")
        return 0
    if not (deployment.exists() if args.purge else deployment.store.exists()):
        print(f"facility {name}: nothing to do, it is not up from here")
        return 0
    left = deployment.down(purge=args.purge)
    print(f"facility {name}: {'removed' if args.purge else 'stopped; `farmlet up` starts it again'}")
    if left:
        print(f"left as they are: {', '.join(left)}. These hosts were there before Farmlet: their services run on")
        if args.purge:
            print("the deploy key and the facility's authority are gone: take the key out of root's authorized_keys there")
    return 0
