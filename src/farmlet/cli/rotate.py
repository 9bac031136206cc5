"""`farmlet rotate WHAT`: new keys, calmly, or at once where the old ones may be known to others."""

from __future__ import annotations

import argparse
import getpass
from collections.abc import Callable
from dataclasses import asdict

from farmlet.cli.opening import open_deployment
from farmlet.cli.options import print_json
from farmlet.engine.deployment import Deployment
from farmlet.engine.rotation import Rotated, rotate_issuer
from farmlet.errors import InputError

ROTATIONS: dict[str, Callable[[Deployment, bool, str], Rotated]] = {"issuer": rotate_issuer}


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=ROTATIONS, help="issuer: the keys that sign the facility's tokens")
    parser.add_argument("--now", action="store_true", help="emergency: the old keys are refused at once, with all they signed")


def run(args: argparse.Namespace) -> int:
    deployment = open_deployment(args, running=True)
    if args.what == "issuer" and deployment.facility.external:
        raise InputError("farmlet rotate issuer", f"is up to {deployment.facility.issuer}, whose keys they are")
    found = ROTATIONS[args.what](deployment, args.now, getpass.getuser())
    if args.json:
        print_json(asdict(found))
    else:
        _tell(found, args.now)
    return 1 if found.failed else 0


def _tell(found: Rotated, now: bool) -> None:
    for key in found.keys:
        words = [f"{word} {key[word]}" for word in ("from", "until") if word in key]
        print(f"{key['algorithm']} key {key['kid']} {' '.join([key['state'], *words])}")
    for item in found.forgot:
        print(f"{item['role']} on {item['node']} forgot the old keys")
    for item in found.failed:
        print(f"{item['role']} on {item['node']} did NOT forget the old keys: {item['error']}")
    if found.failed:
        print("next: mend the node and repeat this command; what failed goes on with the old keys")
        return
    for line in found.left:
        print(f"left: {line}")
    if not now:
        print("nothing is left to do: the next keys sign by themselves when their time comes, and no token is refused")
