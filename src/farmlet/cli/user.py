"""`farmlet user`: members, by the identity service's own command on the control node.

`release` is about accounts whose member is missing at their source, whoever that is: the accounts daemon asked.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from farmlet.cli.opening import open_deployment, open_members
from farmlet.cli.options import add_common, print_json, print_table
from farmlet.errors import InputError
from farmlet.parts.accounts.admin import release
from farmlet.parts.identity import verbs
from farmlet.runtime import files


def add(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for action, text in verbs.VERBS.items():
        one = actions.add_parser(action, help=text)
        add_common(one, again=True)
        verbs.describe(one, action)
        if action in ("add", "secret"):
            one.add_argument("--secret-file", type=Path, metavar="PATH", help="write the secret there (0600), do not print it")
    missing = actions.add_parser("release", help="let members go who are missing where they are kept (`check accounts` asks)")
    add_common(missing, again=True)
    missing.add_argument("name", nargs="*", help="the members' UNIX names")
    missing.add_argument("--all", action="store_true", help="all who are missing")


def run(args: argparse.Namespace) -> int:
    _check(args)
    deployment = open_deployment(args, running=True)
    if args.action == "release":
        return _release(args, release(deployment, args.name))
    members = open_members(deployment)
    if args.action == "list":
        return _list(members.list(), args.json)
    if args.action == "history":
        return _history(members.history(args.name), args.json)
    found = members.change(args.action, args.name, *verbs.spell(args.action, vars(args)))
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
    if args.action == "add":
        verbs.check_add(args)
        if args.secret_file and not args.service:
            raise InputError("--secret-file", "is for service members", "add --service")
    if args.action == "release" and args.all == bool(args.name):
        raise InputError(
            "farmlet user release", "needs the names of members, or --all", "farmlet check accounts names who is missing"
        )
    path = getattr(args, "secret_file", None)
    if path and not path.parent.is_dir():  # before the secret is made, which is told only once
        raise InputError(f"--secret-file {path}", f"there is no folder {path.parent}", f"mkdir -p {path.parent}")


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


def _release(args: argparse.Namespace, names: list[str]) -> int:
    if args.json:
        print_json(names)
    else:
        print(f"let go: {', '.join(names) or 'nobody'}")
        print("next: within a minute they are removed on all nodes: farmlet check accounts", file=sys.stderr)
    return 0


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
