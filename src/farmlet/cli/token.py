"""`farmlet token`: break-glass. Identity mints it (its key is never here), with an `act` claim, and it is audited."""

from __future__ import annotations

import argparse
import sys

from farmlet.cli.opening import open_deployment, open_members
from farmlet.cli.options import print_either
from farmlet.runtime.issuer.jwt import peek


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--as", dest="member", required=True, metavar="USER", help="the member it stands for")
    parser.add_argument("--scope", required=True, help="e.g. storage.read:/data")
    parser.add_argument("--audience", required=True, help="who may accept it")
    parser.add_argument("--reason", required=True, help="kept in the audit log, shown to the member and the administrators")


def run(args: argparse.Namespace) -> int:
    members = open_members(open_deployment(args, running=True))
    found = members.token(args.member, args.scope, args.audience, args.reason)
    print(f"good for 15 min; {args.member} and the administrators are told who took it and why", file=sys.stderr)
    has = str(peek(found).get("scope", "")).split()  # it came straight from who made it, so nothing is verified
    left = [scope for scope in args.scope.split() if scope not in has]
    if left:
        may = f"`farmlet explain {args.member}` shows what they may"
        print(f"its scope is {' '.join(has)}: {args.member} may not have all of {' '.join(left)}; {may}", file=sys.stderr)
    print_either(args, {"access_token": found, "scope": " ".join(has), "left_out": left}, found)
    return 0
