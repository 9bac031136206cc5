"""`farmlet explain`: what a member may do, and which lines of the facility file say so."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from farmlet.cli.opening import open_deployment, print_json
from farmlet.engine.external import open_members
from farmlet.facility.rights import scopes
from farmlet.parts.storage.groups import share


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="USER", help="the member's UNIX name")


def run(args: argparse.Namespace) -> int:
    deployment = open_deployment(args, running=True)
    member = open_members(deployment).change("show", args.name)
    facility = deployment.facility
    # by groups of an external issuer nobody is given what is one member's alone
    table = share(facility.rights) if facility.external else facility.rights
    rights = table.of(args.name, member["groups"])
    service = member["kind"] == "service"
    login = rights.login and not service
    lines = {path: facility.groups[path].line for path in rights.groups}
    if args.json:
        print_json(asdict(rights) | {"login": login, "read": sorted(rights.read), "write": sorted(rights.write), "lines": lines})
        return 0
    print(f"{args.name}: {member['state']}, may {'' if login else 'not '}log in")
    if service:
        print(f"  a service member, owned by {member['owner'] or facility.issuer}, until {(member['expires'] or 'never')[:10]}")
    for path, line in lines.items():
        print(f"  group {path} (line {line} of the facility file)")
    print(f"  batch group {rights.batch_group}, share {rights.batch_share}")
    if facility.external:
        print(f"  storage, by the groups in tokens of {facility.issuer}: {' '.join(scopes(rights))}")
    else:
        print("  storage " + " ".join(scopes(rights)))
    return 0
