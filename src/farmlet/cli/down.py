"""`farmlet down`: stop, or with --purge remove, what `up` made."""

from __future__ import annotations

import argparse

from farmlet.cli.opening import open_deployment


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--purge", action="store_true", help="remove containers, volumes with all data, network, images, state")


def run(args: argparse.Namespace) -> int:
    deployment = open_deployment(args)
    name = deployment.facility.name
    if not deployment.store.exists():
        print(f"facility {name}: nothing to do, it is not up from here")
        return 0
    deployment.down(purge=args.purge)
    print(f"facility {name}: {'removed' if args.purge else 'stopped; `farmlet up` starts it again'}")
    return 0
