"""`farmlet up`: the facility as its file says."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from farmlet.cli.opening import open_deployment
from farmlet.cli.options import print_json
from farmlet.engine.deployment import Deployment
from farmlet.engine.health import wait_healthy
from farmlet.engine.status import endpoints
from farmlet.errors import Errors


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--retain", action="store_true", help="keep the wreck of a failed image build")


def run(args: argparse.Namespace) -> int:
    deployment = open_deployment(args)
    deployment.sandbox.retain = args.retain
    operations = deployment.up()
    away = [*deployment.away.values()]
    try:
        wait_healthy(deployment)
    except Errors as failed:
        raise Errors([*away, *failed.errors]) from failed
    seconds = round(deployment.report.seconds, 1)
    found = endpoints(deployment)
    if args.json:
        name, silent = deployment.facility.name, [*deployment.away]
        made = {"facility": name, "ok": not away, "operations": operations, "seconds": seconds}
        print_json(made | {"endpoints": found, "away": silent})
    else:
        _print(deployment, operations, seconds, found)
    if away:
        raise Errors(away)
    return 0


def _print(deployment: Deployment, operations: int, seconds: float, found: Mapping[str, str]) -> None:
    changed = f"{operations} operations" if operations else "nothing changed"
    print(f"facility {deployment.facility.name} is up: {changed}, {seconds} s")
    for name, value in found.items():
        print(f"  {name:9} {value}")
    members = "`farmlet user list`" if deployment.facility.external else "`farmlet user add NAME --group GROUP`"
    print(f"next: `farmlet demo`, or {members}")
