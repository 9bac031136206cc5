"""`farmlet rotate WHAT`: new keys, calmly, or at once where the old ones may be known to others."""

from __future__ import annotations

import argparse
import getpass
from collections.abc import Callable
from dataclasses import asdict

from farmlet.cli.opening import open_deployment
from farmlet.cli.options import print_json
from farmlet.engine.deployment import Deployment
from farmlet.engine.rotation import Rotated, forget, rotate_ca
from farmlet.errors import InputError
from farmlet.parts.identity import admin


def rotate_issuer(deployment: Deployment, now: bool, by: str) -> Rotated:
    """Give identity new signing keys: calmly, or `now`, so that what the old ones signed is refused everywhere ≤ 60 s."""
    found = admin.rotate(deployment, now, by)
    if not now:
        return Rotated(found)
    forgot, failed = forget(deployment)
    return Rotated(found, forgot, failed, admin.find_left(deployment.facility, deployment.layout.elements().values()))


ROTATIONS: dict[str, Callable[[Deployment, bool, str], Rotated]] = {"issuer": rotate_issuer, "ca": rotate_ca}


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what", choices=ROTATIONS, help="issuer: the keys that sign tokens; ca: the authority of all TLS certificates, and these"
    )
    parser.add_argument(
        "--now", action="store_true", help="at once: the old keys are refused, with all they signed (always so with ca)"
    )


def run(args: argparse.Namespace) -> int:
    deployment = open_deployment(args, running=True)
    if args.what == "issuer" and deployment.facility.external:
        what = f"the keys that sign tokens are those of {deployment.facility.issuer}"
        raise InputError("farmlet rotate issuer", what, "ask its administrators to rotate them")
    found = ROTATIONS[args.what](deployment, args.now, getpass.getuser())
    if args.json:
        print_json(asdict(found))
    else:
        _tell(found, args.now or args.what == "ca")
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
