"""`farmlet logs`: the newest log lines of the nodes, for a person who looks for a fault."""

from __future__ import annotations

import argparse
import shlex
import sys
from typing import Any

from farmlet.cli.opening import open_deployment
from farmlet.cli.options import print_json
from farmlet.errors import FarmletError
from farmlet.runtime.numbers import whole

# programs that write beside the journal
FILES = "/var/log/condor/*Log /var/log/xrootd/*/*.log /var/log/farmlet/*.log"


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("nodes", nargs="*", metavar="NODE", help="only these nodes (stand-in sites too)")
    parser.add_argument("-n", "--lines", type=whole, default=20, help="lines of each log (default 20)")
    parser.add_argument("-u", "--unit", help="only this systemd unit")


def run(args: argparse.Namespace) -> int:
    deployment = open_deployment(args, running=True)
    names = args.nodes or deployment.layout.names()
    for name in names:
        deployment.target(name)  # a mistyped name is told before any log
    rows: list[dict[str, Any]] = []
    for name in names:
        if not args.json:
            print(f"==> {name}")
        try:
            lines, fault = deployment.run(name, ["sh", "-c", _script(args)], timeout=60).rstrip().splitlines(), ""
        except FarmletError as error:
            lines, fault = [], error.what
            print(f"{error.where}: {error.what}", file=sys.stderr)
        rows.append({"node": name, "ok": not fault, "lines": lines, "fault": fault})
        if not args.json and lines:
            print("\n".join(lines))
    if args.json:
        print_json(rows)
    return 0 if all(row["ok"] for row in rows) else 1


def _script(args: argparse.Namespace) -> str:
    count = int(args.lines)
    if args.unit:
        return f"journalctl --no-pager -o short-iso -n {count} -u {shlex.quote(args.unit)}"
    failed = "systemctl --failed --no-legend --plain | head -20"
    warnings = f"journalctl --no-pager -o short-iso -p warning -n {count}"
    return f"echo '-- failed units'; {failed}; echo '-- warnings'; {warnings}; tail -qvn {count} {FILES} 2>/dev/null || true"
