"""`farmlet explain`: what a member may do, and which lines of the facility file say so."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from farmlet.cli.opening import open_deployment, print_json
from farmlet.engine.members import Members
from farmlet.facility.rights import scopes


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="USER", help="the member's UNIX name")


def run(args: argparse.Namespace) -> int:
    deployment = open_deployment(args, running=True)
    member = Members(deployment).change("show", args.name)
    rights = deployment.facility.rights.of(args.name, member["groups"])
    service = member["kind"] == "service"
    login = rights.login and not service
    lines = {path: deployment.facility.groups[path].line for path in rights.groups}
    if args.json:
        print_json(asdict(rights) | {"login": login, "read": sorted(rights.read), "write": sorted(rights.write), "lines": lines})
        return 0
    print(f"{args.name}: {member['state']}, may {'' if login else 'not '}log in")
    if service:
        print(f"  a service member, owned by {member['owner']}, until {member['expires'][:10]}")
    for path, line in lines.items():
        print(f"  group {path} (line {line} of the facility file)")
    print(f"  batch group {rights.batch_group}, share {rights.batch_share}")
    print("  storage " + " ".join(scopes(rights)))
    return 0
