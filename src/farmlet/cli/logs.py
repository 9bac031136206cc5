"""`farmlet logs`: the newest log lines of the nodes, for a person who looks for a fault."""

from __future__ import annotations

import argparse
import shlex
import sys

from farmlet.cli.opening import open_deployment
from farmlet.errors import FarmletError

# programs that write beside the journal
FILES = "/var/log/condor/*Log /var/log/xrootd/*/*.log /var/log/farmlet/*.log"


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("nodes", nargs="*", metavar="NODE", help="only these nodes (stand-in sites too)")
    parser.add_argument("-n", "--lines", type=int, default=20, help="lines of each log (default 20)")
    parser.add_argument("-u", "--unit", help="only this systemd unit")


def run(args: argparse.Namespace) -> int:
    deployment = open_deployment(args, running=True)
    names = args.nodes or deployment.layout.names()
    for name in names:
        deployment.target(name)  # a mistyped name is told before any log
    failed = False
    for name in names:
        print(f"==> {name}")
        try:
            print(deployment.run(name, ["sh", "-c", _script(args)], timeout=60).rstrip())
        except FarmletError as error:
            print(f"{error.where}: {error.what}", file=sys.stderr)
            failed = True
    return 1 if failed else 0


def _script(args: argparse.Namespace) -> str:
    count = int(args.lines)
    if args.unit:
        return f"journalctl --no-pager -o short-iso -n {count} -u {shlex.quote(args.unit)}"
    failed = "systemctl --failed --no-legend --plain | head -20"
    warnings = f"journalctl --no-pager -o short-iso -p warning -n {count}"
    return f"echo '-- failed units'; {failed}; echo '-- warnings'; {warnings}; tail -qvn {count} {FILES} 2>/dev/null || true"
