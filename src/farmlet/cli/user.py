"""`farmlet user`: members, by the identity service's own command on the control node."""

from __future__ import annotations

import argparse
import json
from typing import Any

from farmlet.cli.opening import open_deployment, print_json, print_table
from farmlet.engine.members import Members
from farmlet.errors import InputError

ACTIONS = ("add", "list", "show", "approve", "suspend", "resume", "remove", "history")


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=ACTIONS)
    parser.add_argument("name", nargs="?", help="the member's UNIX name")
    parser.add_argument("--group", action="append", default=[], metavar="GROUP", help="a group of the facility file (add)")
    parser.add_argument("--title", default="", metavar='"FULL NAME"', help="full name (add)")
    parser.add_argument("--email", default="", help="e-mail address (add)")


def run(args: argparse.Namespace) -> int:
    deployment = open_deployment(args, running=True)
    if args.action != "list" and not args.name:
        raise InputError(f"farmlet user {args.action}", "needs a name", f"farmlet user {args.action} NAME")
    members = Members(deployment)
    if args.action == "list":
        return _list(members.list(), args.json)
    if args.action == "add":
        found = members.add(args.name, args.group, args.title, args.email)
    else:
        found = members.change(args.action, args.name)
    if args.json:
        print_json(found)
    elif args.action == "add":
        print(f"member {args.name}: {found['state']}, groups {', '.join(found['groups'])}")
        print(f"next: give this link to them; it sets their password, once:\n  {found['join']}")
    else:
        print(json.dumps(found, indent=2) if args.action in ("show", "history") else f"member {args.name}: {found['state']}")
    return 0


def _list(found: list[dict[str, Any]], as_json: bool) -> int:
    if as_json:
        print_json(found)
    else:
        rows = [(row["name"], row["state"], str(row["uid"]), " ".join(row["groups"])) for row in found]
        print_table(rows, ("name", "state", "uid", "groups"))
    return 0
