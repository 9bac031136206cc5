"""`farmlet logout`: the end of a log-in on a member's own machine."""

from __future__ import annotations

import argparse
import sys

from farmlet.cli.login import choose
from farmlet.cli.options import print_json


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("where", nargs="?", metavar="NAME", help="which facility (default: the only one)")


def run(args: argparse.Namespace) -> int:
    from farmlet.parts.access.login.leave import log_out

    place = choose(args.where, "logout")
    fault = log_out(place)
    if fault:
        print(f"{fault.where}: {fault.what}; the issuer was not told, its refresh token ends by itself", file=sys.stderr)
    if args.json:
        print_json({"facility": place.name, "revoked": fault is None})
    else:
        print(f"logged out of {place.name}; certificate and tokens that were copied elsewhere end by themselves", file=sys.stderr)
    return 0
