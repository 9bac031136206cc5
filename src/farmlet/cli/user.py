"""`farmlet user`: members, by the identity service's own command on the control node."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from farmlet.cli.opening import open_deployment
from farmlet.cli.options import add_common, print_json, print_table
from farmlet.engine.external import open_members
from farmlet.engine.members import Members
from farmlet.errors import InputError
from farmlet.runtime import files

ACTIONS = {
    "add": "register a person, approved at once, or a service member",
    "list": "all members",
    "show": "one member",
    "approve": "let a pending member in",
    "suspend": "keep a member out for now",
    "resume": "end a suspension, or let a person back who was removed",
    "remove": "end a membership; the name is never given to anybody else",
    "join": "put a member into a group",
    "leave": "take a member out of a group",
    "extend": "set the last day of a membership",
    "give": "make another group the owner of a service member",
    "secret": "a new secret for a service member; the old one ends",
    "history": "what the audit log says of a member",
}


def add(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for action, text in ACTIONS.items():
        one = actions.add_parser(action, help=text)
        add_common(one, again=True)
        if action != "list":
            one.add_argument("name", help="the member's UNIX name")
        if action == "add":
            _describe_add(one)
        elif action in ("join", "leave"):
            one.add_argument("--group", required=True, help="a group of the facility file")
        elif action == "extend":
            one.add_argument("date", metavar="DATE", help="the last day, YYYY-MM-DD (UTC); `never` for a person")
        elif action == "give":
            one.add_argument("--owner", required=True, metavar="GROUP", help="a group with an active person")
        if action in ("add", "secret"):
            one.add_argument("--secret-file", type=Path, metavar="PATH", help="write the secret there (0600), do not print it")


def _describe_add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--group", action="append", required=True, help="a group of the facility file; repeat for more")
    parser.add_argument("--title", default="", metavar='"FULL NAME"', help="full name")
    parser.add_argument("--email", default="", help="e-mail address")
    parser.add_argument("--expires", default="", metavar="DATE", help="the last day, YYYY-MM-DD (service members: in a year)")
    parser.add_argument("--service", action="store_true", help="a service member: no log-in, tokens by client credentials")
    parser.add_argument("--owner", default="", metavar="GROUP", help="the group that owns it (with --service)")
    parser.add_argument("--scope", action="append", default=[], help="the widest its tokens may have (default: its rights)")
    parser.add_argument("--audience", action="append", default=[], help="whom its tokens may be for (default: anybody)")


def run(args: argparse.Namespace) -> int:
    _check(args)
    members = open_members(open_deployment(args, running=True))
    if args.action == "list":
        return _list(members.list(), args.json)
    if args.action == "history":
        return _history(members.history(args.name), args.json)
    found = _act(members, args)
    if args.action in ("add", "secret") and args.secret_file:
        files.write(args.secret_file, f"{found.pop('client_secret')}\n".encode(), mode=0o600)
    if args.json:
        print_json(found)
    elif args.action == "show":
        print(json.dumps(found, indent=2))
    else:
        print(f"member {args.name}: {found['state']}, groups {', '.join(found['groups']) or 'none'}{_end(found)}")
        _tell(args, found)
    return 0


def _check(args: argparse.Namespace) -> None:
    if args.action == "secret" or (args.action == "add" and args.service):
        if args.secret_file and not args.secret_file.parent.is_dir():  # before the secret is made, which is told only once
            raise InputError(str(args.secret_file), "there is no such folder")
        if args.action == "add" and args.email:
            raise InputError("--email", "is for people")
        if args.action == "add" and not args.owner:
            raise InputError("--owner", "is missing", "a service member is owned by a group: --owner GROUP")
    elif args.action == "add" and (args.owner or args.scope or args.audience or args.secret_file):
        raise InputError("--owner, --scope, --audience, --secret-file", "are for service members", "add --service")


def _act(members: Members, args: argparse.Namespace) -> dict[str, Any]:
    if args.action == "add" and args.service:
        limits = {"scopes": args.scope, "audiences": args.audience}
        return members.add_service(args.name, args.group, args.owner, args.title, args.expires, **limits)
    if args.action == "add":
        return members.add(args.name, args.group, args.title, args.email, args.expires)
    words = {"join": "group", "leave": "group", "give": "owner"}
    if args.action in words:
        key = words[args.action]
        return members.change(args.action, args.name, f"--{key}={getattr(args, key)}")
    return members.change(args.action, args.name, *([args.date] if args.action == "extend" else []))


def _end(found: dict[str, Any]) -> str:
    owner = f", owned by {found['owner']}" if found["owner"] else ""
    return owner + (f", until {found['expires'][:10]}" if found["expires"] else "")


def _tell(args: argparse.Namespace, found: dict[str, Any]) -> None:
    """What to do next, and what is told only now."""
    if "join" in found:
        print(f"next: give this link to them; it sets their password, once:\n  {found['join']}")
    if "client_id" in found:
        print(f"client: {found['client_id']}")
        print(f"secret: {found.get('client_secret') or f'in {args.secret_file}'}")
        print("next: put the secret into a file (0600) where the production runs; it is not told again", file=sys.stderr)
    if "residual" in found:
        minutes = found["residual"] // 60
        print(f"the old secret gets nothing more; tokens got with it go on for at most {minutes} min", file=sys.stderr)
    for name in found.get("renew", ()):
        print(f"{args.name} may know the secret of {name}: `farmlet user secret {name}` makes a new one", file=sys.stderr)


def _list(found: list[dict[str, Any]], as_json: bool) -> int:
    if as_json:
        print_json(found)
        return 0
    rows = [
        (row["name"], row["kind"], row["state"], (row["expires"] or "-")[:10], row["owner"] or "-", str(row["uid"]), groups)
        for row in found
        for groups in (" ".join(row["groups"]),)
    ]
    print_table(rows, ("name", "kind", "state", "until", "owner", "uid", "groups"))
    return 0


def _history(lines: Sequence[dict[str, Any]], as_json: bool) -> int:
    if as_json:
        print_json(lines)
        return 0
    rows = []
    for line in lines:
        moment = datetime.fromtimestamp(line["at"], UTC).strftime("%Y-%m-%d %H:%M:%S")
        details = {key: value for key, value in line.items() if key not in ("at", "event", "by")}
        words = [f"{key}={' '.join(value) if isinstance(value, list) else value}" for key, value in details.items()]
        rows.append((moment, line["event"], line["by"], ", ".join(words)))
    print_table(rows, ("at (UTC)", "event", "by", "details"))
    return 0
